"""When a delivery is tried again, and when it is given up."""

from __future__ import annotations

import pytest

from batchline.webhooks.patience import GIVEN_UP_AFTER_S, after_failure
from batchline.webhooks.records import Attempted, DeliveryState

NOW = 1_800_000_000


def failed(*, attempts=0, since=NOW, now=NOW, luck=1.0, asked_s=None):
    return after_failure(
        attempts=attempts,
        since=since,
        now=now,
        luck=luck,
        status=503,
        error="It answered 503.",
        asked_s=asked_s,
    )


def waits(luck):
    return [failed(attempts=attempts, luck=luck).due_at - NOW for attempts in range(12)]


def test_waits_double_up_to_an_hour():
    """From seconds on: most receivers come back soon."""
    longest = [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]

    assert waits(luck=1.0) == longest
    assert waits(luck=0.0) == [wait // 2 for wait in longest]


@pytest.mark.parametrize("attempts", [0, 5, 100, 10**6])
def test_jitter_takes_up_to_half_of_the_wait(attempts):
    """A receiver that comes back is not met by all at once; no number of attempts is too many."""
    dues = [failed(attempts=attempts, luck=n / 100).due_at for n in range(101)]

    assert dues == sorted(dues)
    assert 2 * (dues[0] - NOW) <= dues[-1] - NOW <= 2 * (dues[0] - NOW) + 2
    assert len(set(dues)) > 2


@pytest.mark.parametrize(
    ("asked_s", "waited"),
    [
        *((None, 5), (0.0, 5), (4.0, 5), (60.0, 60)),
        *((3600.0, 3600), (1e9, 3600), (-5.0, 5)),
    ],
)
def test_a_receiver_that_asks_for_time_gets_it(asked_s, waited):
    """Up to an hour; what is shorter than our own wait changes nothing."""
    assert failed(asked_s=asked_s).due_at == NOW + waited


def test_the_last_attempt_comes_72_hours_after_the_first():
    """Not later, however long the wait would be."""
    late = failed(since=NOW, now=NOW + GIVEN_UP_AFTER_S - 10, attempts=99)

    assert GIVEN_UP_AFTER_S == 72 * 3600
    assert (late.state, late.due_at) == (DeliveryState.PENDING, NOW + GIVEN_UP_AFTER_S)


@pytest.mark.parametrize("asked_s", [None, 60.0])
def test_it_is_given_up_when_that_fails(asked_s):
    """With what was the matter."""
    over = failed(now=NOW + GIVEN_UP_AFTER_S, attempts=99, asked_s=asked_s)

    assert over == Attempted(DeliveryState.GIVEN_UP, status=503, error="It answered 503.")


def test_the_whole_course_of_a_receiver_that_never_answers():
    """About a hundred attempts in three days, the longest gap an hour."""
    now, attempts, gaps = NOW, 0, []
    while (next_one := failed(attempts=attempts, now=now, luck=0.5)).state is DeliveryState.PENDING:
        gaps.append(next_one.due_at - now)
        now, attempts = next_one.due_at, attempts + 1

    assert now == NOW + GIVEN_UP_AFTER_S
    assert min(gaps[:-1]) > 0
    assert max(gaps) <= 3600
    assert 90 <= attempts <= 110


def test_a_clock_that_is_set_back_gives_nothing_up_early():
    """Nor does it wait longer than from that time on."""
    back = failed(now=NOW - 7200)

    assert (back.state, back.due_at) == (DeliveryState.PENDING, NOW - 7200 + 5)
