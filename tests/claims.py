"""How tests lease slices of one batch; the dispatcher always asks for several batches at once."""

from __future__ import annotations


async def claim_one(store, batch, *, slices, holder, ttl_s):
    """Lease up to so many open slices of the batch."""
    return await store.claim_each([(batch, slices)], holder=holder, ttl_s=ttl_s)
