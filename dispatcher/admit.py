"""Admission: streams the input once, writes its slices, accepts the batch or rejects it with all faults.

Killed half-way, it simply runs again: slices of a torn try are dropped first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from batchline.blobs import Blobs
from batchline.errors import NotFound
from batchline.input_file import DuplicateCheck, FileCheck, Limits, Report
from batchline.model import Batch, Fault, Slice
from batchline.store import Work

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
_SLICES_A_WRITE = 512


class Admission:
    """Validates batches; one call a batch."""

    def __init__(
        self, store: Work, blobs: Blobs, *, limits: Limits, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._limits = limits
        self._clock = clock

    async def admit(self, batch: Batch) -> None:
        """Move a validating batch on. A lost race (cancelled meanwhile) ends it quietly."""
        if not await self._store.begin_admission(batch):
            return
        try:
            report = await self._check(batch)
        except NotFound:
            message = f"Cannot find file {batch.input_file_id}: its bytes are gone."
            fault = Fault("invalid_request", message, None, "file_id")
            report = Report(0, None, (fault,))
        if report is None:
            return
        now = int(self._clock())
        if report.faults:
            if await self._store.reject(batch, report.faults, now=now):
                log.info("%s failed validation: %d faults", batch.id, len(report.faults))
        elif await self._store.accept(batch, total=report.total, model=report.model, now=now):
            log.info("%s accepted: %d requests", batch.id, report.total)

    async def _check(self, batch: Batch) -> Report | None:
        check = FileCheck(batch.seq, batch.endpoint, self._limits)
        waiting: list[Slice] = []
        async for chunk in self._blobs.stream(batch.input_key, chunk_bytes=_CHUNK_BYTES):
            waiting += await asyncio.to_thread(check.feed, chunk)
            if len(waiting) >= _SLICES_A_WRITE:
                if not await self._store.add_slices(waiting):
                    return None
                waiting = []
        waiting += check.finish()
        if waiting and not await self._store.add_slices(waiting):
            return None
        return check.report(await self._duplicates(batch, check))

    async def _duplicates(self, batch: Batch, check: FileCheck) -> Sequence[Fault]:
        if not check.suspects:
            return ()
        second = DuplicateCheck(check.suspects, self._limits)
        async for chunk in self._blobs.stream(batch.input_key, chunk_bytes=_CHUNK_BYTES):
            await asyncio.to_thread(second.feed, chunk)
        second.feed(b"", last=True)
        return second.faults
