"""Retries are paid for: by new work, by their own success, by time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.attempts.budget import CAPACITY, EARNED_PER_S, Budget


def spent(budget, now=0.0):
    return sum(budget.take(now) for _ in range(1000))


def test_a_fresh_batch_can_afford_the_loss_of_a_server():
    """Its bucket is full, and no fuller."""
    budget = Budget(0.0)
    budget.earn(50)

    assert spent(budget) == CAPACITY


def test_five_first_tries_pay_for_one_retry():
    """So retries are at most a sixth of what is sent."""
    budget = Budget(0.0, tokens=0.0)
    for _ in range(100):
        budget.earn()

    assert spent(budget) in (19, 20)


def test_time_pays_for_retries_where_no_new_work_is_left():
    """Ten a second; a clock that stands still or a long sleep is no gift."""
    budget = Budget(0.0, tokens=0.0)

    assert spent(budget, now=0.0) == 0
    assert spent(budget, now=2.0) == 2 * EARNED_PER_S
    assert spent(budget, now=2.0) == 0
    assert spent(budget, now=1e6) == CAPACITY


@given(st.lists(st.sampled_from(["first", "retry", "success"]), max_size=300))
def test_no_more_is_spent_than_was_there(events):
    """Whatever the order: what began in the bucket, and what was earned."""
    budget = Budget(0.0)
    earned = retries = 0.0
    for event in events:
        if event == "retry":
            retries += budget.take(0.0)
        else:
            gain = 0.2 if event == "first" else 1.0
            budget.earn(gain)
            earned += gain
        assert 0 <= budget.tokens <= CAPACITY

    assert retries <= CAPACITY + earned + 1e-6
