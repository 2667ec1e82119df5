"""Which batch next: fair by lines held, deadline among equals; who cannot go on holds up nobody."""

from __future__ import annotations

import random

import pytest

from batchline.model import Batch
from batchline.states import BatchStatus
from dispatcher.sending.schedule import Schedule


def batch(seq, expires_at=100, model=None):
    return Batch(
        seq, f"b{seq}", BatchStatus.IN_PROGRESS, "/v1", "f", "k", "24h", 0, expires_at, model=model
    )


def scheduled(held, *, at_most=None, most_held=4096):
    """Schedule these batches; `held`: batch -> lines held of it."""
    schedule = Schedule(at_most=at_most, most_held=most_held)
    for made, lines in held:
        schedule.put(made, held_lines=lines)
    return schedule


def chosen(schedule, *, unwanted=()):
    found = schedule.choose(lambda model, _: model not in unwanted)
    return None if found is None else found.seq


@pytest.mark.parametrize(
    ("held", "seq"),
    [
        ([(batch(1), 640), (batch(2), 0)], 2),
        ([(batch(1), 64), (batch(2), 65)], 1),
        ([(batch(1, 200), 0), (batch(2, 100), 0)], 2),
        ([(batch(2), 0), (batch(1), 0)], 1),
        ([], None),
    ],
    ids=["fewest-held", "fewest-held-of-two", "nearer-deadline", "older", "nobody"],
)
def test_the_batch_that_holds_least_goes_first(held, seq):
    """A small batch never waits behind a big one; ties are broken the same way every time."""
    assert chosen(scheduled(held)) == seq


def test_what_is_held_now_counts():
    """Not what was held when the batch came; one that was removed stays away."""
    schedule = scheduled([(batch(1), 0), (batch(2), 5), (batch(3), 9)])

    schedule.hold(1, 64)
    assert chosen(schedule) == 2
    schedule.hold(3, 1)
    assert chosen(schedule) == 3
    schedule.remove(3)
    schedule.hold(3, 0)
    assert (chosen(schedule), len(schedule)) == (2, 2)


def test_a_model_that_is_not_wanted_holds_up_no_other():
    """However many batches wait for it."""
    waiting = [(batch(seq, model="gone"), 0) for seq in range(1, 500)]
    schedule = scheduled([*waiting, (batch(900, 999, model="here"), 64)])

    assert chosen(schedule, unwanted={"gone"}) == 900
    assert chosen(schedule) == 1


def test_only_so_many_batches_run_at_the_same_time():
    """The others wait their turn, the one with the nearest deadline first."""
    schedule = scheduled(
        [(batch(1), 8), (batch(2), 9), (batch(3, 50), 0), (batch(4), 0)], at_most=2
    )

    assert chosen(schedule) == 1
    schedule.remove(2)
    assert chosen(schedule) == 3


@pytest.mark.parametrize("blocked", ["exhausted", "unwanted", "full"])
def test_a_batch_that_cannot_go_on_takes_nobody_s_place(blocked):
    """Whatever stops it: no slices left, no server for its model, as many lines as may be held."""
    schedule = scheduled([(batch(1, model="m"), 8), (batch(2), 0)], at_most=1, most_held=100)
    assert chosen(schedule) == 1

    if blocked == "exhausted":
        schedule.remove(1)
    elif blocked == "full":
        schedule.hold(1, 100)

    assert chosen(schedule, unwanted={"m"} if blocked == "unwanted" else ()) == 2


def test_a_full_batch_comes_back_when_fewer_of_its_lines_are_held():
    """It waits in no queue meanwhile."""
    schedule = scheduled([(batch(1), 100)], most_held=100)
    assert chosen(schedule) is None

    schedule.hold(1, 99)

    assert chosen(schedule) == 1


@pytest.mark.parametrize("seed", range(3))
def test_it_chooses_as_a_search_through_all_would(seed):
    """Whatever came, went and was held before."""
    dice = random.Random(seed)
    batches = [batch(seq, dice.randrange(5), dice.choice("mn")) for seq in range(30)]
    schedule, held = Schedule(at_most=None, most_held=8), {}
    for _ in range(3000):
        one = dice.choice(batches)
        match dice.randrange(4):
            case 0:
                held.pop(one.seq, None)
                schedule.remove(one.seq)
            case 1:
                held[one.seq] = dice.randrange(9)
                schedule.put(one, held_lines=held[one.seq])
            case _ if one.seq in held:
                held[one.seq] = dice.randrange(9)
                schedule.hold(one.seq, held[one.seq])
        unwanted = dice.choice([(), "m", "n"])
        keys = [
            (held[b.seq], b.expires_at, b.seq)
            for b in batches
            if held.get(b.seq, 8) < 8 and b.model not in unwanted
        ]
        assert chosen(schedule, unwanted=unwanted) == (min(keys)[2] if keys else None)
