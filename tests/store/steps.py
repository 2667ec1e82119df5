"""What tests of the store do again and again: files, leases, outcomes, a batch to its end."""

from __future__ import annotations

from batchline.blobs.keys import file_key
from batchline.model import File, Outcome, SegmentRef, Settlement, Usage
from batchline.states import BatchStatus, OutcomeKind

NOW = 1_800_000_000
HOUR = 3600
DAY = 86400


def file(name="a", *, expires_at=None, purpose="batch", key=None):
    file_id = f"file-{name}"
    return File(file_id, 10, NOW, expires_at, f"{name}.jsonl", purpose, key or file_key(file_id))


def answered(index, kind=OutcomeKind.SUCCEEDED):
    return Outcome(index, kind, b"{}\n", Usage(output_tokens=2, total_tokens=2))


def settlement(batch, *groups, key="segments/x"):
    return Settlement(batch.seq, SegmentRef(key, 0, 10), groups)


async def leases(store, batch, *, slices=99, holder="a", ttl_s=30):
    """Lease so many slices of the batch."""
    return (await store.claim_each([(batch, slices)], holder=holder, ttl_s=ttl_s)).leases


async def settle(store, batch, lease, lines=None, *, kind=OutcomeKind.SUCCEEDED, now=NOW):
    """Settle those lines of the slice, or all that are left."""
    piece = lease.slice
    lines = range(piece.first, piece.first + piece.count) if lines is None else lines
    outcomes = [answered(line, kind) for line in lines if line not in lease.done]
    return await store.settle([settlement(batch, (lease, outcomes))], now=now)


async def finish(store, batch, *, output=None, error=None, now=NOW):
    """Bring a running batch to its end."""
    for lease in await leases(store, batch):
        await settle(store, batch, lease, now=now)
    assert await store.close(batch, BatchStatus.COMPLETED, output=output, error=error, now=now)


async def prune_all(store):
    while await store.prune(limit=100_000):
        pass


async def status(store, batch):
    return (await store.get_batch(batch.id)).status
