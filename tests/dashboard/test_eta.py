"""When will it be done: honest or silent."""

from __future__ import annotations

import pytest
from scene import NOW, batch

from batchline.model import Counts
from dashboard import eta


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
    seen = batch(1, counts=Counts(total, finished), in_progress_at=NOW - ran_s)

    assert eta.is_telling(seen, now=NOW) is is_telling


def test_a_batch_that_stands_still_has_no_end():
    """No speed, no promise."""
    assert eta.foresee([eta.Pace("a", 100, 0.0)], is_shared=True) == {}


def test_full_servers_pass_the_share_of_an_ended_batch_on():
    """Two batches at 10 per second: when the short one ends, the long one runs at 20."""
    paces = [eta.Pace("long", 1000, 10.0), eta.Pace("short", 100, 10.0)]

    assert eta.foresee(paces, is_shared=True) == {"short": 10.0, "long": 10.0 + 900 / 20}
    assert eta.foresee(paces, is_shared=False)["long"] == pytest.approx(100.0)


def test_a_share_is_passed_on_by_cost():
    """Ten cheap lines per second free less room than ten dear ones."""
    paces = [eta.Pace("long", 1000, 10.0, cost=100), eta.Pace("short", 100, 10.0, cost=10)]

    assert eta.foresee(paces, is_shared=True)["long"] == pytest.approx(10 + 900 / 11)


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

    assert eta.steady(before, NOW + fresh, now=NOW) == NOW + kept


def test_ends_are_rounded_up_to_what_is_honest():
    """Five minutes when more than half an hour away, one minute when nearer."""
    hour = NOW - NOW % 3600
    assert eta.rounded(hour + 3601, now=hour) == hour + 3900
    assert eta.rounded(hour + 601, now=hour) == hour + 660
