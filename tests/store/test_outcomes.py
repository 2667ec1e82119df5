"""`Outcomes`: settling, and what is made of it. Docstrings are the contract's sentences."""

from __future__ import annotations

import pytest
from steps import NOW, answered, file, leases, settle, settlement, status

from batchline.blobs.keys import segments_prefix
from batchline.model import Accepted, Slice, Usage
from batchline.states import OUTCOME_CODES, BatchStatus, OutcomeKind


@pytest.mark.spec("3.5-finalizing")
async def test_settle_moves_counts_and_usage_and_drains(store, make_batch):
    """Store outcomes, move counts and usage, close slices and drained batches, in one go."""
    batch, other = await make_batch(lines=6), await make_batch(lines=4)
    one, two = await leases(store, batch)
    (third,) = await leases(store, other)

    half = await settle(store, batch, one)
    running = await store.get_batch(batch.id)
    failed = [answered(line, OutcomeKind.FAILED) for line in (4, 5)]
    both = await store.settle(
        [settlement(batch, (two, failed)), settlement(other, (third, [answered(0)]))], now=NOW + 1
    )
    drained = await store.get_batch(batch.id)

    assert half == Accepted(succeeded=4, usage=Usage(output_tokens=8, total_tokens=8))
    assert (both.succeeded, both.failed) == (1, 2)
    assert (running.status, running.counts.completed) == (BatchStatus.IN_PROGRESS, 4)
    assert (drained.status, drained.finalizing_at) == (BatchStatus.FINALIZING, NOW + 1)
    assert (drained.counts.completed, drained.counts.failed) == (4, 2)
    assert (drained.usage.output_tokens, drained.usage.total_tokens) == (12, 12)
    assert (await store.get_batch(other.id)).counts.completed == 1


async def test_a_settled_slice_is_closed(store, make_batch):
    """Nobody claims it again; one with open lines stays its holder's."""
    batch = await make_batch(lines=8)
    one, two = await leases(store, batch)
    await settle(store, batch, one)
    await settle(store, batch, two, [4])

    assert await store.recover("a", died=False) == 1
    assert [lease.slice.first for lease in await leases(store, batch)] == [4]


async def test_a_settle_under_a_lost_lease_is_refused(store, make_batch, clock):
    """Outcomes whose slice no longer holds their token are left out; returns what was accepted."""
    batch = await make_batch(lines=8)
    old, kept = await leases(store, batch, holder="a", ttl_s=30)
    clock.advance(31)
    await store.renew([kept], ttl_s=30)
    (new,) = await leases(store, batch, holder="b")
    offered = [(old, [answered(0), answered(1)]), (kept, [answered(4)])]

    accepted = await store.settle([settlement(batch, *offered)], now=NOW)
    refused = await settle(store, batch, old)

    assert (accepted.lines, refused) == (1, Accepted())
    assert await store.outcomes(batch, start=0, stop=4) == []
    assert (await settle(store, batch, new)).lines == 4
    assert (await store.get_batch(batch.id)).counts.completed == 5


async def test_a_line_is_settled_once(store, make_batch):
    """Raises AssertionError if an accepted line had an outcome already.

    Where the settle `is_repeated` after an error, that line is left out: the error may have come after
    the commit.
    """
    batch = await make_batch(lines=4)
    (lease,) = await leases(store, batch)
    await settle(store, batch, lease, [0])

    with pytest.raises(AssertionError):
        await settle(store, batch, lease, [0, 1])
    unchanged = (await store.get_batch(batch.id)).counts.completed
    offered = settlement(batch, (lease, [answered(0), answered(1)]))
    accepted = await store.settle([offered], now=NOW, is_repeated=True)

    assert (unchanged, accepted.lines) == (1, 1)
    assert (await store.get_batch(batch.id)).counts.completed == 2


async def test_slices_come_in_file_order(store, make_batch):
    """All of them, leased ones too."""
    batch = await make_batch(lines=10)
    await leases(store, batch, slices=1)

    assert await store.slices(batch) == [
        Slice(batch.seq, first, count, first * 10, 10) for first, count in ((0, 4), (4, 4), (8, 2))
    ]


async def test_outcomes_come_in_order(store, make_batch):
    """Return (index, outcome code, segment number) for requests `start <= index < stop`, in order."""
    batch = await make_batch(lines=8)
    one, two = await leases(store, batch)
    await settle(store, batch, two, kind=OutcomeKind.FAILED)
    await settle(store, batch, one, [3, 1])
    late, early = (stored.number for stored in await store.segments(batch))
    good, bad = OUTCOME_CODES[OutcomeKind.SUCCEEDED], OUTCOME_CODES[OutcomeKind.FAILED]

    rows = [tuple(row) for row in await store.outcomes(batch, start=1, stop=6)]

    assert rows == [(1, good, early), (3, good, early), (4, bad, late), (5, bad, late)]


async def ending(store, make_batch, end):
    """Make a batch that is due for this end."""
    batch = await make_batch(lines=4, expires_in_s=100)
    match end:
        case BatchStatus.COMPLETED:
            await settle(store, batch, (await leases(store, batch))[0])
        case BatchStatus.EXPIRED:
            await store.lapse(now=NOW + 100)
        case _:
            await store.cancel_batch(batch.id, now=NOW)
    return batch


ENDS = [BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED]


@pytest.mark.parametrize("end", ENDS)
async def test_a_batch_ends_with_its_files(store, make_batch, end):
    """Finalizing → completed or expired, cancelling → cancelled, with its files."""
    batch = await ending(store, make_batch, end)
    output, error = file("out", purpose="batch_output"), file("err")

    assert await store.close(batch, end, output=output, error=error, now=NOW + 100)

    closed = await store.get_batch(batch.id)
    assert (closed.status, closed.ended_at) == (end, NOW + 100)
    assert (closed.output_file_id, closed.error_file_id) == ("file-out", "file-err")
    assert await store.get_file("file-out", now=NOW) == output
    assert await store.get_file("file-err", now=NOW) == error
    assert await store.garbage(limit=9) == [segments_prefix(batch.id)]


@pytest.mark.parametrize("end", ENDS)
async def test_a_cancel_beats_a_publish_that_was_under_way(store, make_batch, end):
    """False on a lost race."""
    running, batch = await make_batch(lines=4), await ending(store, make_batch, end)

    async def close(what, how):
        return await store.close(what, how, output=file("out"), error=None, now=NOW)

    assert not await close(running, end)
    if end is not BatchStatus.CANCELLED:
        await store.cancel_batch(batch.id, now=NOW)
        assert not await close(batch, end)
        assert await store.get_file("file-out", now=NOW) is None
    assert await close(batch, BatchStatus.CANCELLED)
    assert not await close(batch, BatchStatus.CANCELLED)
    assert await status(store, running) is BatchStatus.IN_PROGRESS
