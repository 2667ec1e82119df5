"""Admission: streams the input once, writes its slices, accepts the batch or rejects it with all faults.

A model that the fleet does not serve is refused only where every backend says what it serves. Killed
half-way, admission simply runs again: slices of a torn try are dropped first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from batchline.blobs import Blobs
from batchline.errors import NotFound
from batchline.failpoints import failpoint
from batchline.input_file import DuplicateCheck, Faults, FileCheck, Limits, Report
from batchline.line_check import Rules
from batchline.model import Batch, Fault, Slice
from batchline.store import Work

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
_SLICES_A_WRITE = 512
_AT_ONCE = 4  # bounds memory when many batches arrive together


class Admission:
    """Validates batches; one call a batch."""

    def __init__(
        self,
        store: Work,
        blobs: Blobs,
        *,
        limits: Limits,
        one_model: bool,
        served: Callable[[], Awaitable[frozenset[str] | None]],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._limits = limits
        self._one_model = one_model
        self._served = served
        self._clock = clock
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def admit(self, batch: Batch) -> None:
        """Move a validating batch on. A lost race (cancelled meanwhile) ends it quietly."""
        async with self._turn:
            if await self._store.begin_admission(batch):
                await self._admit(batch)

    async def _admit(self, batch: Batch) -> None:
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
            failpoint("admit.accepted")
            log.info("%s accepted: %d requests", batch.id, report.total)

    async def _check(self, batch: Batch) -> Report | None:
        """Return None if the batch is no longer validating."""
        rules = Rules(batch.endpoint, served=await self._served(), one_model=self._one_model)
        check = FileCheck(batch.seq, rules, self._limits)
        waiting: list[Slice] = []
        async for chunk in self._blobs.stream(batch.input_key, chunk_bytes=_CHUNK_BYTES):
            waiting += await asyncio.to_thread(check.feed, chunk)
            if check.is_full:
                break
            if len(waiting) >= _SLICES_A_WRITE:
                if not await self._store.add_slices(waiting):
                    return None
                waiting = []
        waiting += await asyncio.to_thread(check.finish)
        if waiting and not await self._store.add_slices(waiting):
            return None
        failpoint("admit.chunk")
        return check.report(await self._duplicates(batch, check, rules))

    async def _duplicates(self, batch: Batch, check: FileCheck, rules: Rules) -> Faults | None:
        suspects = await asyncio.to_thread(check.suspects)
        if check.is_full or not suspects:
            return None
        second = DuplicateCheck(suspects, rules, self._limits)
        async for chunk in self._blobs.stream(batch.input_key, chunk_bytes=_CHUNK_BYTES):
            await asyncio.to_thread(second.feed, chunk)
        second.feed(b"", last=True)
        return second.faults
