"""Rates and the time left, from samples."""

from __future__ import annotations

import pytest
from scripted_api import batch_object, running

from batchline.cli.api.batch import read_batch
from batchline.cli.api.pace import Pace, rounded_left_s
from batchline.cli.batches.screens import eta


def test_nothing_is_known_at_first():
    """One look says nothing about speed."""
    pace = Pace()
    pace.observe(100.0, finished=50, tokens=10)

    assert pace.lines_per_s is None
    assert pace.left_s(remaining=10) is None


def test_the_rate_is_that_of_the_last_minute():
    """What was long ago does not count: the speed of now is wanted."""
    pace = Pace()
    for second in range(300):
        pace.observe(float(second), finished=min(second, 200) * 10, tokens=second)

    assert pace.lines_per_s == 0
    assert pace.tokens_per_s == pytest.approx(1)


def test_the_time_left_follows_from_the_rate():
    """Remaining lines at the present rate; nobody knows while nothing moves."""
    pace = Pace()
    pace.observe(0.0, finished=0, tokens=0)
    pace.observe(10.0, finished=50, tokens=0)

    assert pace.left_s(remaining=500) == pytest.approx(100)
    pace.observe(1000.0, finished=50, tokens=0)
    pace.observe(2000.0, finished=50, tokens=0)
    assert pace.left_s(remaining=500) is None


@pytest.mark.parametrize(
    ("left_s", "shown"), [(20, None), (301, 300), (1000, 1020), (10_100, 10_200)]
)
def test_a_time_left_is_rounded_as_far_as_it_is_known(left_s, shown):
    """Five minutes when far off, one when near, none at the end."""
    assert rounded_left_s(left_s) == shown


def test_an_end_is_told_only_while_the_batch_runs():
    """A few minutes, a time of day, or nothing."""
    pace = Pace()
    pace.observe(0.0, finished=0, tokens=0)
    pace.observe(10.0, finished=100, tokens=0)

    def told(**fields):
        return eta(read_batch(batch_object(**fields)), pace, now=1_800_000_000)

    assert told(**running(100, 200)) == "done in a few minutes"
    assert told(**running(100, 100_100)).endswith("(in 2 h 45 m)")
    assert told(**running(100, 100)) == ""
    assert told(**running(100, 200, status="failed")) == ""
