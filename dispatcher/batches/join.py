"""Joins what was appended to a batch into its input file: its requests, in order, as any batch has them.

Idempotent: the slices say which bytes they are, so that a join that was killed runs again to the same file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from batchline.blobs import Blobs
from batchline.blobs.keys import slice_key
from batchline.model import Batch
from batchline.process.failpoints import failpoint
from batchline.results.pieces import pieces
from batchline.store import Outcomes

_LINES_AT_ONCE = 10_000  # of slices in memory: each may be of one line
_PIECE_BYTES = 1 << 20


async def join(store: Outcomes, blobs: Blobs, batch: Batch) -> int:
    """Write the input file of a batch that took requests; return its size. Raises NotFound.

    A file that lacks bytes is dropped: rows of an ended batch go piece by piece, and the caller finds out.
    """
    assert batch.appends is not None, "it has its input file from the start"
    writer = blobs.create(batch.input_key)
    try:
        async for requests in _requests(store, blobs, batch):
            await writer.write(requests)
        if writer.size_bytes == batch.appends.bytes:
            await writer.commit()
            failpoint("publish.joined")
    finally:
        await writer.abort()  # harmless after a commit
    return writer.size_bytes


async def _requests(store: Outcomes, blobs: Blobs, batch: Batch) -> AsyncIterator[bytes]:
    for start in range(0, batch.counts.total, _LINES_AT_ONCE):
        stop = start + _LINES_AT_ONCE
        slices = await store.slices(batch, start=start, stop=stop)
        ranges = [
            (slice_key(batch, piece), piece.offset_bytes, piece.length_bytes)
            for piece in slices
            if start <= piece.first < stop
        ]
        for several in pieces(ranges, piece_bytes=_PIECE_BYTES):
            for data in await blobs.read_many(several):
                yield data
