"""Publishing: writes a batch's two result files in input order, an index beside them, and closes it.

Idempotent: keys, ids and order derive from the batch, so a publish that was killed runs again to the
same bytes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from batchline.blobs import Blobs, BlobWriter
from batchline.blobs.keys import finish_index_key, result_key
from batchline.clock import Clock
from batchline.errors import StoreUnavailable
from batchline.file_expiry import results_expire_at
from batchline.metrics import Metrics
from batchline.model import RESPONSE_PURPOSE, Batch, File, Segment, new_file_id
from batchline.process.failpoints import failpoint
from batchline.states import BatchStatus
from batchline.store import Outcomes

from .ending import ending
from .merge import Merge
from .publishing_space import DiskSpace, needed_bytes
from .steps_at_once import Turns

log = logging.getLogger(__name__)

_AT_ONCE = 16  # of short and of long batches each
_SHORT_LINES = 10_000
_KEPT_S = 600.0  # well below the hour after which bytes that no row names are deleted


@dataclass(frozen=True, slots=True)
class _Written:
    """A result file that is durable under its key."""

    kind: str
    key: str
    size_bytes: int


Files = tuple[_Written | None, _Written | None]


@dataclass(frozen=True, slots=True)
class _Unclosed:
    """Files of a batch whose closing the database refused: they need not be written again."""

    status: BatchStatus
    files: Files
    written_at: float


class _OvertakenError(Exception):
    """The batch was ended, or cancelled, while its results were read."""


class Publisher:
    """Writes result files; one call a batch."""

    def __init__(
        self,
        store: Outcomes,
        blobs: Blobs,
        *,
        min_free_bytes: int,
        metrics: Metrics,
        file_ttl_s: int,
        clock: Clock,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._disk_space = DiskSpace(blobs, min_free_bytes=min_free_bytes)
        self._metrics = metrics
        self._file_ttl_s = file_ttl_s
        self._clock = clock
        self._unclosed: dict[str, _Unclosed] = {}
        self._turns = Turns(short=_AT_ONCE, long=_AT_ONCE)

    @asynccontextmanager
    async def turn(self, batch: Batch) -> AsyncIterator[None]:
        """Wait until it is the turn of this batch to be published, and hold it."""
        async with self._turns.of(is_long=batch.counts.total > _SHORT_LINES):
            yield

    async def publish(self, batch: Batch) -> None:
        """Bring a finalizing or cancelling batch to its end. A lost race ends it quietly.

        Raises NotFound if bytes it needs are gone, AssertionError if its lines do not add up, DiskFull
        if its files would not fit.
        """
        if not batch.counts.total:
            await self._close(batch, (None, None))
            return
        ready = await self._kept(batch)
        if ready is None:
            try:
                segments = await self._store.segments(batch)
                refs = [segment.ref for segment in segments]
                async with self._disk_space.reserved(needed_bytes(batch, refs)):
                    files = await self._write(batch, segments)
            except _OvertakenError:
                log.info("%s was moved on by somebody else", batch.id)
                return
            ready = _Unclosed(batch.status, files, self._clock.monotonic())
        try:
            await self._close(batch, ready.files)
        except StoreUnavailable:
            self._unclosed[batch.id] = ready
            raise

    async def _kept(self, batch: Batch) -> _Unclosed | None:
        """Return the files of a try whose closing was refused just now, if they are there still."""
        kept = self._unclosed.pop(batch.id, None)
        if kept is None or kept.status is not batch.status:
            return None
        if self._clock.monotonic() - kept.written_at > _KEPT_S:
            return None
        for file in filter(None, kept.files):
            if await self._blobs.size(file.key) != file.size_bytes:
                return None
        return kept

    async def _close(self, batch: Batch, written: Files) -> None:
        end, unrun = ending(batch)
        now = int(self._clock.now())
        output, error = (self._file(batch, w, now) if w else None for w in written)
        if await self._store.close(batch, end, output=output, error=error, now=now):
            failpoint("publish.closed")
            self._metrics.batches_finished.labels(end).inc()
            left = batch.counts.total - batch.counts.finished
            self._metrics.finished.labels(unrun).inc(left)
            log.info("%s %s: %s", batch.id, end, batch.counts)

    def _file(self, batch: Batch, written: _Written, now: int) -> File:
        return File(
            id=new_file_id(),
            bytes=written.size_bytes,
            created_at=now,
            expires_at=results_expire_at(
                now, asked_s=batch.output_expires_after_s, ttl_s=self._file_ttl_s
            ),
            filename=f"{batch.id}_{written.kind}.jsonl",
            purpose=RESPONSE_PURPOSE if batch.is_response else "batch_output",
            blob_key=written.key,
        )

    async def _write(self, batch: Batch, segments: Sequence[Segment]) -> Files:
        merge = Merge(self._store, self._blobs, batch, segments, unrun=ending(batch)[1])
        keys = (result_key(batch.id, "output"), result_key(batch.id, "error"))
        output, error = (self._blobs.create(key) for key in keys)
        index = self._blobs.create(finish_index_key(batch.id))
        completed = rest = 0
        try:
            async for step in merge.steps():
                await output.write(b"".join(step.output))
                await error.write(b"".join(step.error))
                completed += len(step.output)
                rest += len(step.error)
            await self._conserve(batch, (completed, rest))
            for entries in merge.finish_index():
                await index.write(entries)
            _, *written = await _all(
                index.commit(),
                _finish(output, "output", keys[0], completed),
                _finish(error, "error", keys[1], rest),
            )
            return written[0], written[1]
        except BaseException:
            await output.abort()
            await error.abort()
            await index.abort()
            raise

    async def _conserve(self, batch: Batch, written: Sequence[int]) -> None:
        """Check ids(output) + ids(error) = ids(input), by counts: each line is written once.

        Rows of an ended batch go piece by piece: of one that is not open any more this proves nothing.
        """
        if written[0] == batch.counts.completed and sum(written) == batch.counts.total:
            return
        found = await self._store.get_batch(batch.id)
        if found is None or found.status is not batch.status:
            raise _OvertakenError
        self._metrics.broken_conservation.inc()
        raise AssertionError(f"{batch.id}: wrote {written}, counted {batch.counts}")


async def _all(*steps: Awaitable[_Written | None]) -> list[_Written | None]:
    """Take the steps at the same time, each to its end; raise what went wrong in the first of them."""
    ends = await asyncio.gather(*steps, return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    return [end for end in ends if not isinstance(end, BaseException)]


async def _finish(writer: BlobWriter, kind: str, key: str, lines: int) -> _Written | None:
    """Commit a result file; one without lines is never created."""
    if not lines:
        await writer.abort()
        return None
    await writer.commit()
    return _Written(kind, key, writer.size_bytes)
