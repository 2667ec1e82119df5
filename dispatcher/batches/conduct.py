"""Every batch to where its status belongs: admission, the pump, the publisher.

One step of a batch at a time. The steps live in a task group of `run`: cancelled with it, and each can
be cut anywhere and run again. A look deals with the batches that changed, however many are open.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from batchline.clock import Clock
from batchline.errors import NewerStore, NotFound, StoreUnavailable
from batchline.metrics import Metrics
from batchline.model import Batch, Fault
from batchline.states import OPEN, PUBLISHABLE, BatchStatus
from batchline.store import Work
from dispatcher.attempts.pause_on_failures import Failures, why_pause
from dispatcher.sending.gate import Cause, Gate
from dispatcher.sending.pump import Pump

from . import crash_loops
from .admit import Admission
from .open_batches import OpenBatches
from .publish import Publisher
from .windows import Windows

log = logging.getLogger(__name__)

LOOK_S = 0.25
_PAUSE_S = 0.02  # where clients create batches without end there is always news
_AGAIN_S = 1.0
_MOST_CRASHES = 5
_EMPTY = Fault(
    "empty_file", "No request was added to this batch before it was finalized, or its window ended."
)
"""Only a batch that takes requests runs without any."""


Step = Callable[[Batch], Awaitable[None]]
"""What brings a batch from one status to the next; cut anywhere, it can be done again."""
Turn = AbstractAsyncContextManager[None]


class Conductor:
    """Looks at the batches that changed and begins what each needs next."""

    def __init__(
        self,
        store: Work,
        pump: Pump,
        admission: Admission,
        publisher: Publisher,
        *,
        failures: Failures,
        holder: str,
        gate: Gate,
        metrics: Metrics,
        clock: Clock,
        look_s: float = LOOK_S,
    ) -> None:
        self._store = store
        self._failures = failures
        self._holder = holder
        self._pump = pump
        self._gate = gate
        self._admission = admission
        self._publisher = publisher
        self._metrics = metrics
        self._clock = clock
        self._look_s = look_s
        self._began_at = self._clock.monotonic()
        self._open = OpenBatches(store)
        self._windows = Windows()
        self._crashing: dict[int, Batch] = {}
        self._tried: int | None = None  # the crashing one that may run
        self._due: set[int] = set()  # batches (by seq) to be looked at
        self._without_room: set[int] = set()
        self._without_patience: set[int] = set()
        self._busy: dict[int, tuple[BatchStatus, asyncio.Task[None]]] = {}
        self._crashes: Counter[str] = Counter()
        self.waiting: dict[str, str] = {}
        """Open batches (by id) whose next step the disk or the database refuses, and why."""

    async def run(self) -> None:
        """Look again whenever something may have changed; never returns."""
        async with asyncio.TaskGroup() as steps:
            while True:
                try:
                    await self._look(steps)
                    await self._clock.sleep(_PAUSE_S)
                    await self._store.wait_for_work(timeout_s=self._look_s)
                except StoreUnavailable as exc:  # steps under way go on
                    log.warning("conduct waits: %s", exc)
                    await self._clock.sleep(_AGAIN_S)

    async def _look(self, steps: asyncio.TaskGroup) -> None:
        await self._read()
        self._due |= self._pump.broken.keys() | self._without_patience
        self._without_patience.clear()
        # Past its deadline a batch sends nothing more, whenever the sweep comes to end it.
        self._due |= self._windows.look(self._clock.now())
        if not self._gate.has(Cause.DISK):
            self._due |= self._without_room
            self._without_room.clear()
        for seq in sorted(self._due):
            if batch := self._open.get(seq):
                await self._direct(batch, steps)
            self._due.discard(seq)  # not sooner: where the store refuses it is looked at again
        self._pump.look()
        for status in OPEN:
            self._metrics.batches.labels(status).set(self._open.by_status[status])
        self._metrics.waiting.set(self._open.lines_left)

    async def _read(self) -> None:
        news = await self._open.read()
        for batch in news.ended:
            self._forget(batch)
        for batch in news.changed:
            self._due.add(batch.seq)
            if crash_loops.is_crashing(batch):
                self._crashing[batch.seq] = batch
            else:
                self._crashing.pop(batch.seq, None)
        first = crash_loops.first(self._crashing.values())
        before, self._tried = self._tried, None if first is None else first.seq
        if before != self._tried:
            self._due |= {seq for seq in (before, self._tried) if seq is not None}

    def _forget(self, batch: Batch) -> None:
        self._pump.end(batch)
        self._windows.remove(batch.seq)
        self._crashing.pop(batch.seq, None)
        self.waiting.pop(batch.id, None)
        self._crashes.pop(batch.id, None)

    async def _direct(self, batch: Batch, steps: asyncio.TaskGroup) -> None:
        """Have a batch do what it is to do now, and nothing else."""
        is_held_back = batch.seq in self._crashing and batch.seq != self._tried
        fault = None if is_held_back else crash_loops.verdict(batch)
        self._send(batch, may_run=not is_held_back and fault is None)
        self._failures.look(batch)
        if batch.seq in self._busy:
            status, task = self._busy[batch.seq]
            if status is not batch.status:
                task.cancel()  # a cancel does not wait for a step that is void
        elif fault := fault or why_pause(batch, self._failures):
            await self._stop(batch, fault)
        elif not is_held_back:
            await self._move_on(batch, steps)

    def _send(self, batch: Batch, *, may_run: bool) -> None:
        """Tell the pump whether lines of it are to be sent."""
        if batch.status is not BatchStatus.IN_PROGRESS:
            self._windows.remove(batch.seq)
            self._pump.end(batch)
            return
        self._windows.add(batch.seq, batch.expires_at)
        if not may_run or self._windows.is_over(batch.seq):
            self._pump.end(batch)
        elif batch.paused_at is not None:
            self._pump.pause(batch.seq)
        else:
            self._pump.run(batch)

    async def _move_on(self, batch: Batch, steps: asyncio.TaskGroup) -> None:
        if batch.status is BatchStatus.IN_PROGRESS:
            if reason := self._pump.broken.pop(batch.seq, None):
                await self._fail(batch, reason)
        elif batch.status is BatchStatus.FINALIZING and not batch.counts.total:
            await self._store.break_batch(batch, _EMPTY, now=int(self._clock.now()))
        elif batch.status in PUBLISHABLE:  # it asks for room by itself
            if self._clock.monotonic() - self._began_at < crash_loops.patience_s(batch):
                self.waiting[batch.id] = f"The dispatcher died on it {batch.deaths} times in a row."
                self._without_patience.add(batch.seq)
            else:
                turn = self._publisher.turn(batch)
                self._begin(batch, self._publisher.publish, turn, steps)
        elif self._gate.has(Cause.DISK):
            self._without_room.add(batch.seq)
        else:
            self._begin(batch, self._admission.admit, self._admission.turn(batch), steps)

    def _begin(self, batch: Batch, step: Step, turn: Turn, steps: asyncio.TaskGroup) -> None:
        task = steps.create_task(self._guarded(batch, step, turn))
        self._busy[batch.seq] = batch.status, task
        task.add_done_callback(lambda _: self._ended(batch.seq))

    def _ended(self, seq: int) -> None:
        """Look at the batch again: it may not have got on, or its status may have changed under way."""
        del self._busy[seq]
        self._due.add(seq)

    async def _guarded(self, batch: Batch, step: Step, turn: Turn) -> None:
        """Take the step; whatever breaks in it is this batch's affair and no other's."""
        fault = None
        try:
            async with turn:
                if await self._store.begin(batch, holder=self._holder):
                    fault = await self._attempt(batch, step)
            if fault is not None:
                await self._fail(batch, fault)
        except StoreUnavailable as exc:
            if self.waiting.get(batch.id) != str(exc):
                log.warning("%s of %s waits: %s", step.__name__, batch.id, exc)
            self.waiting[batch.id] = str(exc)
            await self._clock.sleep(_AGAIN_S)
        else:
            self.waiting.pop(batch.id, None)

    async def _attempt(self, batch: Batch, step: Step) -> str | None:
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
            await self._clock.sleep(_AGAIN_S)
        else:
            self._crashes.pop(batch.id, None)
        return None

    async def _fail(self, batch: Batch, reason: str) -> None:
        log.error("%s fails: %s", batch.id, reason)
        fault = Fault("internal_error", reason)
        await self._store.break_batch(batch, fault, now=int(self._clock.now()))

    async def _stop(self, batch: Batch, fault: Fault) -> None:
        """Work no more on a batch that does not get on; keep what there is of it."""
        log.error("%s is set aside: %s", batch.id, fault.message)
        now = int(self._clock.now())
        if batch.status is BatchStatus.IN_PROGRESS:
            await self._store.set_aside(batch, fault, now=now)
        else:
            await self._store.break_batch(batch, fault, now=now)
