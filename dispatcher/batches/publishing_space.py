"""Room for publishing: whether a batch's result files fit on the disk, asked before their first byte.

They are written beside the segments that they are made of, and those go right after: publishing frees
more than it takes. So it may use half of what is kept free, where nothing else may begin.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from batchline import figures
from batchline.blobs import Blobs
from batchline.errors import DiskFull
from batchline.jsonl.finish_index import ENTRY_BYTES
from batchline.model import Batch, SegmentRef

_UNRUN_BYTES = 512  # the record of a line that never ran; custom_ids are rarely longer than 100
_OVERHEAD_BYTES = 1 << 20  # blocks begun, folders, the rows of the closing transaction


def needed_bytes(batch: Batch, segments: Iterable[SegmentRef]) -> int:
    """Return what publishing takes at most: records lie in segments as they will in the files."""
    total = batch.counts.total
    unrun_bytes = (total - batch.counts.finished) * _UNRUN_BYTES
    ran_bytes = sum(segment.length_bytes for segment in segments)
    joined_bytes = batch.appends.bytes if batch.appends else 0
    return ran_bytes + unrun_bytes + joined_bytes + total * ENTRY_BYTES + _OVERHEAD_BYTES


class DiskSpace:
    """The free space of the blob store, shared by all that publish at the same time."""

    def __init__(self, blobs: Blobs, *, min_free_bytes: int) -> None:
        self._blobs = blobs
        self._kept_bytes = min_free_bytes // 2
        self._reserved_bytes = 0

    @asynccontextmanager
    async def reserved(self, needed: int) -> AsyncIterator[None]:
        """Hold so many bytes of room for a batch's result files while the body runs.

        Raises DiskFull if they do not fit at present.
        """
        free = await asyncio.to_thread(self._blobs.free_bytes)
        usable = max(0, free - self._kept_bytes - self._reserved_bytes)
        if needed > usable:
            raise DiskFull(
                f"Its result files need up to {figures.size(needed)} of disk space, and "
                f"{figures.size(usable)} may be used for them. Delete files that are no longer needed, "
                "or give the data directory more room."
            )
        self._reserved_bytes += needed
        try:
            yield
        finally:
            self._reserved_bytes -= needed
