"""How fast, and when will it be done: honest or silent."""

from __future__ import annotations

import pytest

from batchline import estimate
from batchline.estimate import Moving, Told, Track

NOW = 1_770_859_807  # 2026-02-12 01:30:07 UTC


def moving(batch_id, left, per_s, **changes):
    """A batch that has run for an hour and is far enough to be foreseen."""
    return Moving(batch_id, 1000, 1000 + left, ran_s=3600, per_s=per_s, **changes)


@pytest.mark.parametrize(
    ("finished", "total", "ran_s", "is_telling"),
    [
        (0, 1000, 900, False),
        (199, 100_000, 900, False),
        (499, 100_000, 900, False),
        (500, 100_000, 900, True),
        (500, 100_000, 59, False),
        (5, 100, 10, True),
        (4, 100, 3600, False),
        (5, 100, 9, False),
    ],
)
def test_no_end_is_told_before_enough_finished(finished, total, ran_s, is_telling):
    """Large batches need 200 lines or 0.5 % and a minute, small ones 5 % and ten seconds."""
    assert estimate.is_telling(Moving("a", finished, total, ran_s, per_s=1.0)) is is_telling


def test_a_batch_that_stands_still_has_no_end():
    """No speed, no promise."""
    assert estimate.foresee([moving("a", 100, 0.0)], is_shared=True) == {}


def test_full_servers_pass_the_share_of_an_ended_batch_on():
    """Two batches at 10 per second: when the short one ends, the long one runs at 20."""
    running = [moving("long", 1000, 10.0), moving("short", 100, 10.0)]

    assert estimate.foresee(running, is_shared=True) == {"short": 10.0, "long": 10.0 + 900 / 20}
    assert estimate.foresee(running, is_shared=False)["long"] == pytest.approx(100.0)


def test_a_share_is_passed_on_by_cost():
    """Ten cheap lines per second free less room than ten dear ones."""
    running = [moving("long", 1000, 10.0, cost=100), moving("short", 100, 10.0, cost=10)]

    assert estimate.foresee(running, is_shared=True)["long"] == pytest.approx(10 + 900 / 11)


@pytest.mark.parametrize(
    ("shown", "fresh", "kept"),
    [
        (None, 3600, 3600),
        (3600, 3650, 3600),
        (3600, 3700, 3700),
        (-5, 60, 60),
        (36_000, 36_600, 36_000),
    ],
)
def test_a_shown_end_moves_only_when_it_matters(shown, fresh, kept):
    """Within a minute or 2 % the shown end stays; one that has passed never does."""
    before = None if shown is None else NOW + shown

    assert estimate.steady(before, NOW + fresh, now=NOW) == NOW + kept


HOUR = NOW - NOW % 3600


@pytest.mark.parametrize(
    ("left_s", "told"),
    [
        (60, Told(None, "under a minute")),
        (61, Told(None, "a few minutes")),
        (300, Told(None, "a few minutes")),
        (601, Told(HOUR + 660, "11 m")),
        (3601, Told(HOUR + 3900, "1 h 05 m")),
    ],
)
def test_an_end_is_told_as_exactly_as_it_is_known(left_s, told):
    """Rounded up: to five minutes when more than half an hour away, to one when nearer; then in words alone."""
    assert estimate.told(HOUR + left_s, now=HOUR) == told


def test_an_end_is_foreseen_only_where_that_is_honest():
    """Of a batch that moves and is far enough; what is shown stays where the new end hardly differs."""
    early, still = Moving("early", 1, 1000, ran_s=5, per_s=1.0), moving("still", 500, 0.0)
    running = [moving("a", 1000, 1.0), early, still]

    assert estimate.ends(running, now=NOW, shown={"a": NOW + 990.0}) == {"a": NOW + 990.0}


def track_of(counts, *, step_s=1.0):
    """A batch watched at equal distances."""
    track = Track()
    for i, finished in enumerate(counts):
        track.add(i * step_s, finished=finished, output_tokens=2 * finished)
    return track


def test_nothing_is_known_at_first():
    """One look says nothing about speed."""
    track = track_of([50])

    assert (track.rate(), track.token_rate()) == (None, None)


def test_the_rate_is_that_of_the_last_minute():
    """What was long ago does not count: the speed of now is wanted."""
    track = track_of([10 * min(second, 200) for second in range(1, 300)])

    assert track.rate() == 0
    assert track.rate(window_s=200) == pytest.approx(5, rel=0.05)
    assert track.moving_rate() == pytest.approx(10, rel=0.05)
    assert track.still_for_s(now=298) == 99


def test_tokens_have_a_rate_of_their_own():
    """Those of finished lines."""
    assert track_of([10, 20, 30, 40]).token_rate() == pytest.approx(20)
