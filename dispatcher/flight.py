"""Lines on their way: ready, in flight, waiting for their retry.

    ready ─► in flight ─► the settler
      ▲          │ retry: later; no backend: when the gate opens
      └──────────┘
What a reply means is `verdict`'s decision, where a line goes `placement`'s, how many may fly `governor`'s,
whose lines come `pump`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable

from batchline.failpoints import failpoint
from batchline.lines import answer_record, error_record
from batchline.metrics import Metrics
from batchline.model import Outcome, Usage, request_id
from batchline.states import OutcomeKind

from .gate import Cause, Gate
from .held import Held, ReadyLine
from .placement import Berth, Placement
from .policy import Reason
from .retrying import RetryLimits
from .settle import Settler
from .upstream import Reply, Upstream
from .verdict import (
    Answer,
    Failed,
    NoAnswer,
    NoBackend,
    Retry,
    Setting,
    Succeeded,
    Verdict,
    judge,
    our_fault,
)

log = logging.getLogger(__name__)

_READY_AHEAD_LINES = 128


class Flight:
    """The lines ready and in flight. `hungry` is set when more could be sent than is ready."""

    def __init__(
        self,
        upstream: Upstream,
        placement: Placement,
        *,
        retry: RetryLimits,
        gate: Gate,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self._upstream = upstream
        self._placement = placement
        self._limits = retry
        self._gate = gate
        self._metrics = metrics
        self._clock = clock
        self._settler: Settler | None = None
        self._ready: deque[ReadyLine] = deque()
        self._tasks: set[asyncio.Task[bool]] = set()
        self._by_batch: Counter[str] = Counter()
        self._idle = asyncio.Event()
        self._is_draining = False
        self.limit = 1
        self.hungry = asyncio.Event()

    def use(self, settler: Settler) -> None:
        """Name the settler (what it settles goes to the pump, so it is made last)."""
        self._settler = settler

    @property
    def in_flight(self) -> int:
        """Requests sent and not yet answered."""
        return len(self._tasks)

    def in_flight_by_batch(self) -> dict[str, int]:
        """Requests in flight of each batch that has any."""
        return {batch_id: n for batch_id, n in self._by_batch.items() if n}

    @property
    def room(self) -> int:
        """How many more lines are wanted: none while nothing may be sent."""
        if self._is_draining or not self._gate.is_open:
            return 0
        return max(0, max(_READY_AHEAD_LINES, self.limit) - len(self._ready))

    def set_limit(self, limit: int) -> None:
        """Allow this many requests in flight."""
        self.limit = limit
        self.kick()

    def add(self, lines: Iterable[ReadyLine]) -> None:
        """Take lines that are to be sent; `kick` sends them."""
        self._ready.extend(lines)

    def kick(self) -> None:
        """Send what may be sent."""
        while self._may_send():
            line = self._ready.popleft()
            if not line.held.may_send:
                continue
            berth = self._placement.choose(avoid=line.avoid)
            if berth is None:
                self._ready.appendleft(line)
                break
            self._start(line, berth)
        if self.room:
            self.hungry.set()

    def drop(self, held: Held) -> None:
        """Abort what is in flight of a slice that is lost: nothing of it can be settled."""
        held.is_dropped = True
        for task in held.tasks:
            task.cancel()
        held.forget_timers()

    def leave(self, held: Held) -> None:
        """Let what is in flight of this slice end in peace and send nothing more of it."""
        held.is_leaving = True
        held.forget_timers()

    async def drain(self, grace_s: float) -> None:
        """Send nothing more, wait up to `grace_s` for requests in flight, then abort the rest."""
        self._is_draining = True
        self._ready.clear()
        self._idle.clear()
        if self._tasks:
            log.info("waiting up to %.0f s for %d requests in flight", grace_s, len(self._tasks))
            try:
                await asyncio.wait_for(self._idle.wait(), grace_s)
            except TimeoutError:
                log.warning("aborting %d requests", len(self._tasks))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- sending

    def _may_send(self) -> bool:
        has_room = len(self._tasks) < self.limit
        return bool(self._ready) and has_room and not self._is_draining and self._gate.is_open

    def _start(self, line: ReadyLine, berth: Berth) -> None:
        task = asyncio.get_running_loop().create_task(self._run(line, berth))
        self._tasks.add(task)
        berth.in_flight += 1
        line.held.tasks.add(task)
        line.held.under_way += 1
        self._by_batch[line.held.batch.id] += 1
        task.add_done_callback(lambda done: self._ended(done, line, berth))

    def _ended(self, task: asyncio.Task[bool], line: ReadyLine, berth: Berth) -> None:
        self._tasks.discard(task)
        berth.in_flight -= 1
        line.held.tasks.discard(task)
        if task.cancelled() or task.exception() or not task.result():
            line.held.under_way -= 1  # else when it is durable
            if line.held.is_leaving:
                self.hungry.set()
        self._by_batch[line.held.batch.id] -= 1
        if not self._by_batch[line.held.batch.id]:
            del self._by_batch[line.held.batch.id]
        if not self._tasks:
            self._idle.set()
        if not task.cancelled() and (exc := task.exception()):
            log.error("line %d of %s broke", line.index, line.held.batch.id, exc_info=exc)
            self._broke(line)
        self.kick()

    async def _run(self, line: ReadyLine, berth: Berth) -> bool:
        """Send the line once; tell whether its outcome was handed to the settler."""
        batch = line.held.batch
        if line.spent >= self._limits.budget:
            await self._settle(line, OutcomeKind.FAILED, our_fault().result, Usage())
            return True
        failpoint("send.before")
        reply = await self._upstream.send(
            batch.endpoint,
            bytes(line.body),
            request_id=request_id(batch.id, line.index),
            backend=berth.pin,
        )
        failpoint("send.answered")
        verdict = judge(reply, self._setting(line))
        self._measure(verdict, reply.seconds)
        match verdict:
            case Succeeded(answer, usage):
                await self._settle(line, OutcomeKind.SUCCEEDED, answer, usage)
            case Failed(result, _):
                await self._settle(line, OutcomeKind.FAILED, result, Usage())
            case Retry():
                line.avoid = berth
                return await self._retry(line, verdict)
            case NoBackend(detail):
                is_left = isinstance(reply, Reply) and self._placement.refused(berth)
                if not is_left:
                    self._gate.close(Cause.NO_BACKEND, f"No model server can be reached: {detail}.")
                self._ready.appendleft(line)
                return False
        return True

    def _setting(self, line: ReadyLine) -> Setting:
        return Setting(
            now=self._clock(),
            may_be_stale=not line.was_stale,
            is_served=lambda: self._placement.serves(line.held.batch.model),
        )

    # -- retrying

    async def _retry(self, line: ReadyLine, verdict: Retry) -> bool:
        line.spent += verdict.cost
        line.tries += 1
        line.was_stale |= verdict.reason is Reason.STALE
        if line.spent >= self._limits.budget:
            await self._settle(line, OutcomeKind.FAILED, verdict.result, Usage())
            return True
        self._later(line, self._limits.delay_s(verdict, tries=line.tries))
        return False

    def _broke(self, line: ReadyLine) -> None:
        """Count a try at which the dispatcher itself broke; the last is settled when its turn comes."""
        verdict = our_fault()
        line.spent += verdict.cost
        self._later(line, self._limits.delay_s(verdict, tries=1))

    def _later(self, line: ReadyLine, delay_s: float) -> None:
        if not line.held.may_send:
            return
        timers = line.held.timers

        def again() -> None:
            timers.discard(timer)
            self._ready.appendleft(line)
            self.kick()

        timer = asyncio.get_running_loop().call_later(delay_s, again)
        timers.add(timer)

    # -- outcomes

    async def _settle(
        self, line: ReadyLine, kind: OutcomeKind, result: Answer | NoAnswer, usage: Usage
    ) -> None:
        held = line.held
        name = request_id(held.batch.id, line.index)
        match result:
            case Answer(status, body, upstream_id):
                record = answer_record(
                    name, line.custom_id, status=status, upstream_id=upstream_id, body=body
                )
            case NoAnswer(code, message):
                record = error_record(name, line.custom_id, code=code, message=message)
        assert self._settler is not None, "use() comes before the first line"
        await self._settler.put(held.batch, held.lease, Outcome(line.index, kind, record, usage))

    def _measure(self, verdict: Verdict, seconds: float) -> None:
        match verdict:
            case Succeeded():
                word, reason = "succeeded", "none"
            case Failed(_, why):
                word, reason = "failed", str(why)
            case Retry(_, why):
                word, reason = "retry", str(why)
            case NoBackend(_, why):
                word, reason = "no_backend", str(why)
        self._metrics.attempts.labels(word, reason).inc()
        self._metrics.attempt_seconds.observe(seconds)
