"""Admission: streams the input once, writes its slices, accepts the batch or rejects it with all faults.

A model that the fleet does not serve is refused only where every backend says what it serves. Killed
half-way, admission simply runs again: slices of a torn try are dropped first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from batchline.blobs import Blobs
from batchline.clock import Clock
from batchline.errors import NotFound
from batchline.jsonl.body_rules import BodyRules
from batchline.jsonl.input_file import DuplicateCheck, Faults, FileCheck, Limits, Report
from batchline.jsonl.line_check import Rules
from batchline.model import Batch, Fault, Slice
from batchline.outbound.media_urls import NO_MEDIA, MediaRules
from batchline.process.failpoints import failpoint
from batchline.states import OnFaults
from batchline.store import Conduct

from .steps_at_once import Turns

log = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
_SLICES_A_WRITE = 512
_AT_ONCE = 4  # of short and of long files each: bounds memory when many batches arrive together
_SHORT_BYTES = 16 << 20
_FEW_BYTES = 4 << 10  # checked sooner than a thread is asked to


P = ParamSpec("P")
T = TypeVar("T")


class Admission:
    """Validates batches; one call a batch."""

    def __init__(
        self,
        store: Conduct,
        blobs: Blobs,
        *,
        limits: Limits,
        one_model: bool,
        body: BodyRules,
        media: MediaRules = NO_MEDIA,
        served: Callable[[], Awaitable[frozenset[str] | None]],
        clock: Clock,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._limits = limits
        self._one_model = one_model
        self._body = body
        self._media = media
        self._served = served
        self._clock = clock
        self._turns = Turns(short=_AT_ONCE, long=_AT_ONCE)

    @asynccontextmanager
    async def turn(self, batch: Batch) -> AsyncIterator[None]:
        """Wait until it is the turn of this batch to be admitted, and hold it."""
        size_bytes = await self._blobs.size(batch.input_key) or 0
        async with self._turns.of(is_long=size_bytes > _SHORT_BYTES):
            yield

    async def admit(self, batch: Batch) -> None:
        """Move a validating batch on. A lost race (cancelled meanwhile) ends it quietly."""
        rules = await self._rules(batch)
        check = FileCheck(batch.seq, rules, self._limits)
        try:
            last = await self._read(batch, check)
            if last is None:
                return
            failpoint("admit.chunk")
            report = check.report(await self._duplicates(batch, check, rules))
        except NotFound:
            message = f"Cannot find file {batch.input_file_id}: its bytes are gone."
            fault = Fault("invalid_request", message, None, "file_id")
            report, last = Report(0, None, (fault,)), []
        now = int(self._clock.now())
        if report.faults:
            if await self._store.reject(batch, report.faults, now=now):
                log.info("%s failed validation: %d faults", batch.id, len(report.faults))
        elif await self._store.accept(
            batch, total=report.total, model=report.model, now=now, slices=last
        ):
            failpoint("admit.accepted")
            log.info("%s accepted: %d requests", batch.id, report.total)

    async def _rules(self, batch: Batch) -> Rules:
        if batch.on_faults is OnFaults.FAIL_LINES:  # `attempts.line_rules` looks at each of them
            return Rules(
                batch.endpoint, body=self._body, media=self._media, on_faults=batch.on_faults
            )
        return Rules(
            batch.endpoint,
            served=await self._served(),
            one_model=self._one_model,
            body=self._body,
            media=self._media,
        )

    async def _read(self, batch: Batch, check: FileCheck) -> list[Slice] | None:
        """Check the file; return the slices not stored yet, or None if it is no longer validating."""
        waiting: list[Slice] = []
        async for chunk in self._blobs.stream(batch.input_key, chunk_bytes=_CHUNK_BYTES):
            waiting += await _work_on(len(chunk), check.feed, chunk)
            if check.is_full:
                break
            if len(waiting) >= _SLICES_A_WRITE:
                if not await self._store.add_slices(waiting):
                    return None
                waiting = []
        return waiting + await _work_on(check.size_bytes, check.finish)

    async def _duplicates(self, batch: Batch, check: FileCheck, rules: Rules) -> Faults | None:
        shared = await _work_on(check.size_bytes, check.shared_marks)
        if check.is_full or not shared:
            return None
        second = DuplicateCheck(shared, rules, self._limits)
        async for chunk in self._blobs.stream(batch.input_key, chunk_bytes=_CHUNK_BYTES):
            await asyncio.to_thread(second.feed, chunk)
        second.feed(b"", last=True)
        return second.faults


async def _work_on(size_bytes: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Conduct on so many bytes, apart from the event loop where that is worth it."""
    if size_bytes <= _FEW_BYTES:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
