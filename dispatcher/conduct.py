"""Every batch to where its status belongs: admission, the pump, the publisher.

One step of a batch at a time. The steps live in a task group of `run`: cancelled with it, and each can
be cut anywhere and run again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from batchline.errors import NewerStore, NotFound, StoreUnavailable
from batchline.metrics import Metrics
from batchline.model import Batch, Fault
from batchline.states import OPEN, PUBLISHABLE, BatchStatus
from batchline.store import Work

from . import crash_loops
from .admit import Admission
from .gate import Cause, Gate
from .publish import Publisher
from .pump import Pump

log = logging.getLogger(__name__)

_LOOK_S = 0.25
_AGAIN_S = 1.0
_MOST_CRASHES = 5


class Conductor:
    """Looks at the open batches and begins what each needs next."""

    def __init__(
        self,
        store: Work,
        pump: Pump,
        admission: Admission,
        publisher: Publisher,
        *,
        holder: str,
        gate: Gate,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._holder = holder
        self._pump = pump
        self._gate = gate
        self._admission = admission
        self._publisher = publisher
        self._metrics = metrics
        self._clock = clock
        self._began_at = time.monotonic()
        self._busy: dict[str, tuple[BatchStatus, asyncio.Task[None]]] = {}
        self._crashes: Counter[str] = Counter()
        self.waiting: dict[str, str] = {}
        """Open batches (by id) whose next step the disk or the database refuses, and why."""

    async def run(self) -> None:
        """Look again whenever something may have changed; never returns."""
        async with asyncio.TaskGroup() as steps:
            while True:
                try:
                    await self._look(steps)
                    await self._store.wait_for_work(timeout_s=_LOOK_S)
                except StoreUnavailable as exc:  # steps under way go on
                    log.warning("conduct waits: %s", exc)
                    await asyncio.sleep(_AGAIN_S)

    async def _look(self, steps: asyncio.TaskGroup) -> None:
        batches = crash_loops.may_run(await self._store.open_batches())
        running = [b for b in batches if b.status is BatchStatus.IN_PROGRESS]
        now = self._clock()
        # Past its deadline a batch sends nothing more, whenever the sweep comes to end it.
        self._pump.update([b for b in running if b.expires_at > now])
        for gone in self.waiting.keys() - {b.id for b in batches}:
            del self.waiting[gone]
        for batch in batches:
            if batch.id not in self._busy:
                await self._move_on(batch, steps)
            elif self._busy[batch.id][0] is not batch.status:
                self._busy[batch.id][1].cancel()  # a cancel does not wait for a step that is void
        self._count(batches, running)

    async def _move_on(self, batch: Batch, steps: asyncio.TaskGroup) -> None:
        if fault := crash_loops.verdict(batch):
            await self._stop(batch, fault)
        elif batch.status is BatchStatus.IN_PROGRESS:
            if reason := self._pump.broken.pop(batch.seq, None):
                await self._fail(batch, reason)
        elif batch.status in PUBLISHABLE:  # it asks for room by itself
            if time.monotonic() - self._began_at < crash_loops.patience_s(batch):
                self.waiting[batch.id] = f"The dispatcher died on it {batch.deaths} times in a row."
            else:
                self._begin(batch, self._publisher.publish, steps)
        elif batch.status is BatchStatus.VALIDATING and not self._gate.has(Cause.DISK):
            self._begin(batch, self._admission.admit, steps)

    def _begin(
        self, batch: Batch, step: Callable[[Batch], Awaitable[None]], steps: asyncio.TaskGroup
    ) -> None:
        task = steps.create_task(self._guarded(batch, step))
        self._busy[batch.id] = batch.status, task
        task.add_done_callback(lambda _: self._busy.pop(batch.id))

    async def _guarded(self, batch: Batch, step: Callable[[Batch], Awaitable[None]]) -> None:
        """Run the step; whatever breaks in it is this batch's affair and no other's."""
        try:
            await self._store.begin(batch, holder=self._holder)
            fault = await self._attempt(batch, step)
            if fault is not None:
                await self._fail(batch, fault)
        except StoreUnavailable as exc:
            if self.waiting.get(batch.id) != str(exc):
                log.warning("%s of %s waits: %s", step.__name__, batch.id, exc)
            self.waiting[batch.id] = str(exc)
            await asyncio.sleep(_AGAIN_S)
        else:
            self.waiting.pop(batch.id, None)

    async def _attempt(self, batch: Batch, step: Callable[[Batch], Awaitable[None]]) -> str | None:
        """Return why the batch can never go on, or None."""
        try:
            await step(batch)
        except NotFound as exc:
            return f"Bytes that this batch needs are gone: {exc.message}"
        except (StoreUnavailable, NewerStore):
            raise
        except Exception as exc:
            log.exception("%s of %s broke", step.__name__, batch.id)
            self._crashes[batch.id] += 1
            if self._crashes[batch.id] >= _MOST_CRASHES:
                del self._crashes[batch.id]
                return f"{step.__name__} broke {_MOST_CRASHES} times: {exc}"
            await asyncio.sleep(_AGAIN_S)
        else:
            self._crashes.pop(batch.id, None)
        return None

    async def _fail(self, batch: Batch, reason: str) -> None:
        log.error("%s fails: %s", batch.id, reason)
        fault = Fault("internal_error", reason)
        await self._store.break_batch(batch, fault, now=int(self._clock()))

    async def _stop(self, batch: Batch, fault: Fault) -> None:
        """Work no more on a batch that the dispatcher dies on; keep what there is of it."""
        log.error("%s is set aside: %s", batch.id, fault.message)
        now = int(self._clock())
        if batch.status is BatchStatus.IN_PROGRESS:
            await self._store.set_aside(batch, fault, now=now)
        else:
            await self._store.break_batch(batch, fault, now=now)

    def _count(self, batches: Sequence[Batch], running: Sequence[Batch]) -> None:
        by_status = Counter(b.status for b in batches)
        for status in OPEN:
            self._metrics.batches.labels(status).set(by_status[status])
        left = sum(b.counts.total - b.counts.finished for b in running)
        self._metrics.waiting.set(left)
