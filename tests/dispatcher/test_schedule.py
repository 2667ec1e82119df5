"""Which batch next: fair by lines held, deadline among equals."""

from __future__ import annotations

from batchline.model import Batch
from batchline.states import BatchStatus
from dispatcher.schedule import admitted, choose


def batch(seq, expires_at=100):
    return Batch(seq, f"b{seq}", BatchStatus.IN_PROGRESS, "/v1", "f", "k", "24h", 0, expires_at)


def test_the_batch_that_holds_least_goes_first():
    """A small batch never waits behind a big one."""
    big, small = batch(1), batch(2)
    assert choose([big, small], {1: 640}) is small
    assert choose([big, small], {1: 64, 2: 65}) is big


def test_among_equals_the_nearer_deadline_wins_then_the_older():
    """Ties are broken the same way every time."""
    assert choose([batch(1, 200), batch(2, 100)], {}).seq == 2
    assert choose([batch(2), batch(1)], {}).seq == 1


def test_without_candidates_nothing_is_chosen():
    """None is an answer."""
    assert choose([], {}) is None


def test_the_oldest_batches_are_admitted():
    """Others wait their turn."""
    assert [b.seq for b in admitted([batch(3), batch(1), batch(2)], at_most=2)] == [1, 2]
