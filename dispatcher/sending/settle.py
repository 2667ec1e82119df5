"""The one writer of results: groups outcomes for a few milliseconds and makes them durable.

Bytes before rows: a group's records are appended and synced, then one transaction inserts its outcomes.
While the disk or the database refuses, the group is kept and tried again; nothing is lost, and a full
queue holds sending back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from batchline.blobs import Blobs
from batchline.blobs.keys import segments_prefix
from batchline.clock import Clock
from batchline.errors import StoreUnavailable
from batchline.metrics import Metrics
from batchline.model import Accepted, Batch, Lease, Outcome, Settlement
from batchline.process.failpoints import failpoint
from batchline.states import OutcomeKind
from batchline.store import Outcomes

from .gate import Cause, Gate
from .memory import Memory

log = logging.getLogger(__name__)

_MAX_PENDING = 4096
_MAX_PENDING_BYTES = 16 << 20  # it is copied once more to be written
_RETRY_S = 1.0

Pending = tuple[Batch, Lease, Outcome]


class Settler:
    """The queue of finished lines and the task that stores them."""

    def __init__(
        self,
        store: Outcomes,
        blobs: Blobs,
        *,
        gate: Gate,
        memory: Memory,
        metrics: Metrics,
        flush_s: float,
        clock: Clock,
        retry_s: float = _RETRY_S,
        max_pending: int = _MAX_PENDING,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._gate = gate
        self._memory = memory
        self._metrics = metrics
        self._flush_s = flush_s
        self._clock = clock
        self._retry_s = retry_s
        self._max_pending = max_pending
        self._subscribers: list[Callable[[Sequence[Pending]], None]] = []
        self._pending: list[Pending] = []
        self._pending_bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._stopping = False

    def subscribe(self, tell: Callable[[Sequence[Pending]], None]) -> None:
        """Have `tell` called with each group that has become durable."""
        self._subscribers.append(tell)

    async def put(self, batch: Batch, lease: Lease, outcome: Outcome) -> None:
        """Queue one finished line; waits while the queue is full."""
        self._memory.take_answer(len(outcome.record))
        try:
            while not self._room.is_set():
                await self._room.wait()
        except asyncio.CancelledError:
            self._memory.give(len(outcome.record))
            raise
        self._pending.append((batch, lease, outcome))
        self._pending_bytes += len(outcome.record)
        self._arrived.set()
        if len(self._pending) >= self._max_pending or self._pending_bytes >= _MAX_PENDING_BYTES:
            self._room.clear()

    def stop(self) -> None:
        """Let `run` return once everything queued is durable."""
        self._stopping = True
        self._arrived.set()

    async def run(self) -> None:
        """Store groups until stopped."""
        while True:
            await self._arrived.wait()
            if not self._stopping:
                await self._clock.sleep(self._flush_s)
            group, self._pending, self._pending_bytes = self._pending, [], 0
            self._arrived.clear()
            self._room.set()
            if group:
                await self._store_durably(group)
                self._memory.give(sum(len(outcome.record) for _, _, outcome in group))
            elif self._stopping:
                return
            if self._stopping:
                self._arrived.set()

    async def _store_durably(self, group: Sequence[Pending]) -> None:
        """Store the group once, however often that takes.

        What failed may have been stored all the same, so it is offered as it was, bytes and all.
        """
        settlements: list[Settlement] = []
        is_repeated = False
        while True:
            try:
                await self._store_group(group, settlements, is_repeated=is_repeated)
            except StoreUnavailable as exc:
                is_repeated = True
                self._gate.close(Cause.STORAGE, f"Results cannot be stored: {exc}")
                if self._stopping:
                    log.error("%d results are given up and will be asked for again", len(group))  # noqa: TRY400
                    return
                await self._clock.sleep(self._retry_s)
            else:
                if not self._pending:  # else it comes first: a claim could take its slices anew
                    self._gate.open(Cause.STORAGE)
                for tell in self._subscribers:
                    tell(group)
                return

    async def _store_group(
        self, group: Sequence[Pending], settlements: list[Settlement], *, is_repeated: bool
    ) -> None:
        """Store the group. `settlements` keeps what is durable of it: trying again writes no byte twice."""
        started = self._clock.monotonic()
        by_batch: dict[str, list[Pending]] = {}
        for item in group:
            by_batch.setdefault(item[0].id, []).append(item)
        for items in list(by_batch.values())[len(settlements) :]:
            settlements.append(await self._put_segment(items))  # noqa: PERF401 - each counts at once
        failpoint("settle.synced")
        accepted = await self._store.settle(
            settlements, now=int(self._clock.now()), is_repeated=is_repeated
        )
        failpoint("settle.committed")
        self._measure(group, accepted, self._clock.monotonic() - started)

    async def _put_segment(self, items: Sequence[Pending]) -> Settlement:
        batch = items[0][0]
        segment = await self._blobs.put_segment(
            segments_prefix(batch.id), [(outcome.index, outcome.record) for _, _, outcome in items]
        )
        by_lease: dict[tuple[int, int], tuple[Lease, list[Outcome]]] = {}
        for _, lease, outcome in items:
            by_lease.setdefault((lease.slice.first, lease.token), (lease, []))[1].append(outcome)
        return Settlement(batch.seq, segment, list(by_lease.values()))

    def _measure(self, group: Sequence[Pending], accepted: Accepted, seconds: float) -> None:
        metrics = self._metrics
        metrics.settle_seconds.observe(seconds)
        metrics.settled_per_group.observe(len(group))
        if accepted.lines < len(group):
            log.info(
                "%d results were stored before, or came after their lease was lost",
                len(group) - accepted.lines,
            )
        metrics.finished.labels(OutcomeKind.FAILED).inc(accepted.failed)
        metrics.finished.labels(OutcomeKind.SUCCEEDED).inc(accepted.succeeded)
        metrics.prompt_tokens.inc(accepted.usage.input_tokens)
        metrics.completion_tokens.inc(accepted.usage.output_tokens)
