"""The stamps of a batch stay in order, whatever the clock does between two moves."""

from __future__ import annotations

import pytest
from claims import claim_one

from batchline.model import Fault, Outcome, SegmentRef, Settlement
from batchline.states import BatchStatus, OutcomeKind

EARLY = 1  # long before any batch was created


async def settle_all(store, batch):
    claim = await claim_one(store, batch, slices=9, holder="w", ttl_s=30)
    groups = [
        (lease, [Outcome(lease.slice.first + n, OutcomeKind.SUCCEEDED, b"{}\n") for n in range(4)])
        for lease in claim.leases
    ]
    await store.settle([Settlement(batch.seq, SegmentRef("segments/x", 0, 10), groups)], now=EARLY)


@pytest.mark.spec("3.5-stamps-ordered")
async def test_a_clock_that_steps_back_leaves_no_stamp_before_the_one_before_it(store, make_batch):
    """Each end is reached with the clock far in the past: all stamps are the creation's."""
    failed = await make_batch()
    await store.reject(failed, [Fault("c", "m")], now=EARLY)
    broken = await make_batch(lines=4)
    await store.break_batch(broken, Fault("c", "m"), now=EARLY)
    completed = await make_batch(lines=4)
    await settle_all(store, completed)
    await store.close(completed, BatchStatus.COMPLETED, output=None, error=None, now=EARLY)
    expired = await make_batch(lines=4, expires_in_s=-(10**10))
    await store.lapse(now=EARLY)
    await store.close(expired, BatchStatus.EXPIRED, output=None, error=None, now=EARLY)
    cancelled = await make_batch(lines=4)
    await settle_all(store, cancelled)
    await store.cancel_batch(cancelled.id, now=EARLY)
    await store.close(cancelled, BatchStatus.CANCELLED, output=None, error=None, now=EARLY)

    for batch in (failed, broken, completed, expired, cancelled):
        end = await store.get_batch(batch.id)
        stamps = [
            end.in_progress_at,
            end.finalizing_at,
            end.cancelling_at,
            end.ended_at,
        ]
        assert {s for s in stamps if s is not None} == {end.created_at}
        assert end.ended_at is not None
