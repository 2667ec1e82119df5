"""The retry policy's table is total and sensible."""

from __future__ import annotations

import pytest

from dispatcher.attempts.retrying import Plan, RetryLimits, plan
from dispatcher.replies.policy import BREAKS, POLICIES, Counts, Reason, Then, Wait, of_status
from dispatcher.replies.upstream import Break
from dispatcher.replies.verdict import Answer, Retry, our_fault

LIMITS = RetryLimits(max_attempts=5, base_s=0.5, max_s=30.0)


def retry(reason, after_s=None):
    return Retry(Answer(500, b"{}", "r"), reason, after_s)


def test_the_tables_are_total():
    """Every reason has a row, every kind of break its reason."""
    assert set(POLICIES) == set(Reason) - {Reason.NONE}
    assert set(BREAKS) == set(Break)


def test_every_error_status_has_a_row():
    """A status that nobody thought of is no hole."""
    assert {of_status(status) for status in range(300, 600)} <= set(POLICIES)


@pytest.mark.parametrize("row", POLICIES.values(), ids=POLICIES)
def test_the_rows_are_sensible(row):
    """Only a retry counts or waits; what never ends is no fault of the line."""
    if row.then is not Then.RETRY:
        assert (row.counts, row.wait) == (Counts.NOTHING, Wait.NONE)
    assert not row.code or row.message
    assert (row.cost > 0) == (row.counts in {Counts.ATTEMPT, Counts.PATIENCE})


def test_the_back_off_doubles_up_to_its_cap_with_full_jitter():
    """Anything between nothing and the cap, so that many lines do not come back together."""
    drawn = {
        n: [LIMITS.delay_s(retry(Reason.SERVER_ERROR), attempts=n) for _ in range(400)]
        for n in (1, 3, 90)
    }

    for attempts, cap in ((1, 0.5), (3, 2.0), (90, 30.0)):
        assert cap / 2 < max(drawn[attempts]) <= cap
        assert min(drawn[attempts]) < cap / 4


def test_each_kind_of_wait_is_kept():
    """At once, the longest, what the server asks for if that is longer."""
    assert LIMITS.delay_s(retry(Reason.STALE), attempts=9) == 0
    assert LIMITS.delay_s(our_fault(), attempts=1) == 30
    assert LIMITS.delay_s(retry(Reason.RATE_LIMITED, 90.0), attempts=1) == 90
    assert LIMITS.delay_s(retry(Reason.RATE_LIMITED, 0.0), attempts=9) > 0


def test_a_wait_fits_into_the_time_that_is_left():
    """No wait is longer than half of it, and the try after a shortened one is the last."""
    assert plan(5.0, 86_400) == Plan(5.0)
    for _ in range(50):
        last = plan(600.0, 60)
        assert last is not None
        assert 15 <= last.delay_s <= 30
        assert last.is_last


@pytest.mark.parametrize("left_s", [1.0, 0.0, -30.0])
def test_with_no_time_left_nothing_is_tried(left_s):
    """The line expires with its batch."""
    assert plan(0.0, left_s) is None
