"""Schedules: the same seed gives the same one, every failpoint has its turn, faults stay bounded."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from hashlib import sha256

import pytest

from batchline.process.failpoints import POINTS, arm
from chaos.draw import PAIRS, VERSION, schedule
from chaos.faults import BREAKS_CONNECTION, SICK, Failure, Fate, Reception
from chaos.report import ENOUGH
from chaos.schedule import Intake, Moment, Verb, shown
from deliver.handling.attempts import MOST_DEATHS

SEEDS = range(500)
DIGESTS = {"6.419f7ef6": "8f8a2d1b69a7cef1"}
"""Of all schedules, by version. A new failpoint makes a new version by itself."""
BEFORE_DELIVERIES = {"3.419f7ef6": "8f2eb3417857cdc1"}
"""Of all schedules when nothing befell deliveries."""


@pytest.fixture(scope="module")
def schedules():
    return [schedule(seed) for seed in SEEDS]


def test_a_seed_gives_the_same_schedule_for_ever():
    """Whatever else was drawn before it."""
    drawn = "\n".join(shown(schedule(seed)) for seed in SEEDS)
    digest = digest_of(drawn)

    assert "\n".join(shown(schedule(seed)) for seed in SEEDS) == drawn
    assert f"(version {VERSION})" in drawn
    assert DIGESTS.get(VERSION, digest) == digest, "draw.py draws otherwise: raise its VERSION"


def test_what_befalls_deliveries_changes_nothing_else(schedules):
    """A seed that once failed is the same history as before, with a receiver and a handler beside it.

    And its batches come in otherwise.
    """
    version = VERSION.replace("6.", "3.", 1)
    without = [
        replace(
            one,
            version=version,
            batches=tuple(replace(batch, intake=Intake.FILE) for batch in one.batches),
            callbacks=(),
            handling=None,
            acts=tuple(act for act in one.acts if act.moment is Moment.SENT),
        )
        for one in schedules
    ]

    digest = digest_of("\n".join(map(shown, without)))

    assert BEFORE_DELIVERIES.get(version, digest) == digest


def test_deliveries_meet_every_trouble(schedules):
    """The deliverer and the handler die and freeze, the receiver is away and fails in each way, the disk fills."""
    acts = [act for one in schedules for act in one.acts if act.moment is Moment.TOLD]
    troubles = Counter((act.target, act.verb, act.form) for act in acts)
    failing = {("receiver", Verb.FALTER, r) for r in Reception if r is not Reception.TAKEN}
    dying = {("deliverer", verb, "") for verb in (Verb.KILL, Verb.TERM, Verb.FREEZE)}
    handler = {("handler", verb, "") for verb in (Verb.KILL, Verb.FREEZE)}
    away, full = ("receiver", Verb.VANISH, ""), ("disk", Verb.FULL, "")

    assert set(troubles) == {away, full, *failing, *dying, *handler}
    assert min(troubles.values()) >= 20
    for one in schedules:
        assert set(one.callbacks) <= {batch.name for batch in one.batches}
    assert sum(bool(one.callbacks) for one in schedules) >= len(schedules) // 4


def test_handlers_fail_in_every_way_and_never_so_often_that_a_batch_is_given_up(schedules):
    """With each pair of failpoint and action, and in the few histories that `make test` plays."""
    handled = [one for one in schedules if one.handling is not None]
    dealt = [[f for _, failures in one.handling.failures for f in failures] for one in handled]

    assert {one.pair for one in handled} == set(PAIRS)
    assert sum(one.seed < 12 for one in handled) >= 4
    assert {how for failures in dealt for _, how in failures} == set(Failure)
    assert max(map(len, dealt)) + 1 < MOST_DEATHS  # and one that is killed from outside


def digest_of(drawn):
    return sha256(drawn.encode()).hexdigest()[:16]


def test_each_failpoint_and_action_has_its_turn_often_enough(schedules):
    """In 500 seeds, with some to spare for what luck prevents."""
    turns = Counter(one.pair for one in schedules)

    assert set(turns) == {(point, action) for point in POINTS for action in ("crash", "error")}
    assert min(turns.values()) >= 2 * ENOUGH
    assert len(PAIRS) == len(turns)


def test_what_is_armed_can_be_armed(schedules):
    """The product itself reads every text."""
    try:
        for one in schedules:
            for _, text in one.failpoints:
                arm(text)
            for act in one.acts:
                arm(act.failpoints)
    finally:
        arm("")


def test_a_line_that_shall_be_answered_is_dealt_few_faults(schedules):
    """So that its fate is decided: fewer than what excuses a failure, and one that looks like a death."""
    lines = [line for one in schedules for batch in one.batches for _, line in batch.special]

    assert all(len(line.faults) <= 2 for line in lines if line.fate is Fate.ANSWERED)
    assert all(sum(f in BREAKS_CONNECTION for f in line.faults) <= 1 for line in lines)


def test_every_kind_of_act_happens(schedules):
    """Each verb, the second dispatchers, disks and clocks are drawn often."""
    acts = Counter(act.verb for one in schedules for act in one.acts)

    assert set(acts) == set(Verb)
    assert min(acts.values()) >= 10
    assert {one.second for one in schedules} == {"", "standby", "rival"}


def test_every_sickness_is_drawn(schedules):
    """Each form, also of two servers in one history; and never for a server that there is not."""
    acts = [[act for act in one.acts if act.verb is Verb.SICKEN] for one in schedules]
    forms = Counter(act.form for found in acts for act in found)

    assert set(forms) == set(SICK)
    assert min(forms.values()) >= 5
    assert {len(found) for found in acts} == {0, 1, 2}
    for one, found in zip(schedules, acts, strict=True):
        assert {act.target for act in found} <= {f"upstream{n}" for n in range(one.upstreams)}
