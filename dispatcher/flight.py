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
import time
from collections import Counter
from collections.abc import Callable, Iterable

from batchline.failpoints import failpoint
from batchline.metrics import Metrics

from .berth import Berth, News, Stay
from .bodies import Bodies
from .circuit import Sign
from .gate import Gate
from .held import Held, ReadyLine
from .lacks import Lacking, Need
from .memory import Memory
from .outcomes import Outcomes
from .placement import Placement
from .policy import POLICIES, Counts
from .ready import AHEAD_LINES, Ready
from .refusals import Refusals
from .retrying import TOO_LATE_S, Retrying, RetryLimits
from .trials import Trials
from .upstream import Break, Broken, Reply, Upstream
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
    model_gone,
    our_fault,
)
from .wording import why_of

log = logging.getLogger(__name__)

_SOONEST_S = 0.01


class Flight:
    """The lines ready and in flight. `hungry` is set when more could be sent than is ready."""

    def __init__(
        self,
        upstream: Upstream,
        placement: Placement,
        bodies: Bodies,
        *,
        memory: Memory,
        retry: RetryLimits,
        gate: Gate,
        metrics: Metrics,
        clock: Callable[[], float],
        list_again: Callable[[str], None],
    ) -> None:
        """Begin without lines. `list_again` is told whose list of models is not true any more."""
        self._upstream = upstream
        self._placement = placement
        self._gate = gate
        self._metrics = metrics
        self._clock = clock
        self._list_again = list_again
        self.outcomes = Outcomes(metrics)
        self._bodies = bodies
        self._memory = memory
        self._ready = Ready(placement, memory)
        self.trials = Trials(
            placement,
            metrics=metrics,
            need_of=self._ready.need,
            on_free=self._ready.add_first,
            on_failed=self._fail,
        )
        self._refusals = Refusals(
            placement, metrics=metrics, on_free=self._ready.add_first, on_failed=self._fail
        )
        self._retrying = Retrying(
            retry,
            metrics=metrics,
            clock=clock,
            looks=lambda: placement.looks,
            on_ripe=self.kick,
            on_suspect=self.trials.add,
        )
        self._tasks: dict[asyncio.Task[bool], tuple[ReadyLine, Stay]] = {}
        self._failing: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        self._idle = asyncio.Event()
        self._is_draining = False
        self.limit = 1
        self._is_all = False
        self.hungry = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """Requests sent and not yet answered."""
        return len(self._tasks)

    def in_flight_by_batch(self) -> dict[str, int]:
        """Count the requests in flight of each batch that has any."""
        return Counter(line.held.batch.id for line, _ in self._tasks.values())

    @property
    def room(self) -> int:
        """How many more lines are wanted: none while nothing may be sent."""
        if self._is_draining or not self._gate.is_open:
            return 0
        return max(0, max(AHEAD_LINES, self.limit) - len(self._ready))

    def set_limit(self, limit: int) -> None:
        """Allow this many requests in flight."""
        self.limit = limit
        self._placement.set_limit(limit)
        self._retrying.look_after_losses()
        self._refusals.release()
        self._retrying.measure(suspects=len(self.trials))
        self.kick()

    def add(self, lines: Iterable[ReadyLine]) -> None:
        """Take lines that are to be sent; `kick` sends them."""
        self._ready.add(lines)

    def claimed(self, *, is_all: bool) -> None:
        """Take note whether there is nothing left to claim: then retries may have idle places."""
        self._is_all = is_all
        self._send_ready()

    def kick(self) -> None:
        """Send what may be sent."""
        self._send_ready()
        if self.room:
            self.hungry.set()

    def _send_ready(self) -> None:
        for line in self._retrying.ripe():
            self._ready.add_first(line)
        if self._may_send():
            for line, stay in self.trials.next(at_most=self.limit - len(self._tasks)):
                self._start(line, stay)
        while self._may_send() and (found := self._next()) is not None:
            self._start(*found)
        for line in self._ready.gone():
            self._fail(line, model_gone(line.model, self._placement.served, request_id=line.name))
        self._come_back()

    def wants(self, model: str | None, endpoint: str) -> bool:
        """Whether such lines shall be claimed: not while nobody may take more of them."""
        return self._ready.wants(Need(model, endpoint))

    def waiting(self) -> dict[str, str]:
        """Say of which batches (by id) lines wait that no backend in service takes, and why."""
        return self._ready.waiting()

    def proven(self, berth: Berth, fault: str | None) -> None:
        """Take in that a canary was answered by a backend in doubt, or why it was not."""
        self._placement.proven(berth, fault)
        self.kick()

    def abort(self, berth: Berth) -> None:
        """Take the lines away from a backend that hangs: they are tried elsewhere."""
        for task, (_, stay) in self._tasks.items():
            if stay.berth is berth and stay.hung is None:
                stay.hung = berth.circuit.reason or "hangs"
                task.cancel()

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
                async with asyncio.timeout(grace_s):
                    await self._idle.wait()
            except TimeoutError:
                log.warning("aborting %d requests", len(self._tasks))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._failing, return_exceptions=True)

    def forget(self, batch_id: str) -> None:
        """Forget what is known of a batch that does not run any more."""
        self._retrying.forget(batch_id)
        self._refusals.forget(batch_id)
        self.outcomes.failures.forget(batch_id)

    # -- sending

    def _next(self) -> tuple[ReadyLine, Stay] | None:
        if (
            self._is_all
            and not self._ready
            and (line := self._retrying.next_for_idle_place()) is not None
        ):
            self._ready.add_first(line)
        return self._ready.next()

    def _may_send(self) -> bool:
        has_room = len(self._tasks) < self.limit and self._memory.may_send
        return has_room and not self._is_draining and self._gate.may_try

    def _come_back(self) -> None:
        """Kick again when an open circuit may be tried, if lines wait for that."""
        if self._again is not None or not self._ready or not self._may_send():
            return
        if (delay_s := self._placement.opens_in_s()) is not None:
            delay_s = max(_SOONEST_S, delay_s)
            self._again = asyncio.get_running_loop().call_later(delay_s, self._came_back)

    def _came_back(self) -> None:
        self._again = None
        self.kick()

    def _start(self, line: ReadyLine, stay: Stay) -> None:
        self._retrying.sent(line)
        self._memory.sent(line)
        task = asyncio.get_running_loop().create_task(self._run(line, stay))
        self._tasks[task] = line, stay
        line.held.tasks.add(task)
        line.held.under_way += 1
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[bool]) -> None:
        line, stay = self._tasks.pop(task)
        self._placement.left(stay)
        line.held.tasks.discard(task)
        is_lost = task.cancelled() or task.exception() is not None or not task.result()
        self._memory.landed(line, is_done=not is_lost)
        if is_lost:
            line.held.under_way -= 1  # else when it is durable
            if line.held.is_leaving:
                self.hungry.set()
        if not self._tasks:
            self._idle.set()
        self.trials.undecided(line)  # unless it has ended already
        if not task.cancelled() and (exc := task.exception()):
            log.error("line %d of %s broke", line.index, line.held.batch.id, exc_info=exc)
            self._retrying.take(line, our_fault())
        if self._soon is None:  # once for all lines that end in the same moment
            self._soon = asyncio.get_running_loop().call_soon(self._kick_now)

    def _kick_now(self) -> None:
        self._soon = None
        self.kick()

    async def _run(self, line: ReadyLine, stay: Stay) -> bool:
        """Send the line once; tell whether its outcome was handed to the settler."""
        if self._retrying.is_spent(line) and line.fails_with is not None:
            await self.outcomes.failed(line, line.fails_with)
            return True
        left_s = self._retrying.left_s(line)
        if left_s <= 0 or (body := line.body or await self._bodies.of(line)) is None:
            return False  # its batch expires, or fails, in a moment
        failpoint("send.before")
        reply = await self._send(line, body, stay, max(left_s, TOO_LATE_S))
        failpoint("send.answered")
        verdict = judge(reply, self._setting(line, stay))
        self.outcomes.measure(verdict, reply.seconds)
        self._tell(line, stay, reply, verdict)
        match verdict:
            case Succeeded(answer, usage):
                self.trials.answered(line)
                self._retrying.succeeded(line)
                self._refusals.answered(line, stay)
                await self.outcomes.succeeded(line, answer, usage)
            case Failed(result, _):
                self.trials.answered(line)
                if not self._refusals.counts(line, verdict, stay):
                    return False
                await self.outcomes.failed(line, result)
            case Retry():
                line.avoid = line.avoid if line.refusals else stay.berth
                return await self._retry(line, stay, verdict, reply.seconds)
            case NoBackend():
                self.trials.undecided(line)
                self._return(line)
                return False
        return True

    async def _retry(self, line: ReadyLine, stay: Stay, verdict: Retry, seconds: float) -> bool:
        """Try it again later or, if that is over, settle it; tell which.

        What a backend does whose working is in doubt is no evidence against the line.
        """
        if line.is_on_trial and verdict.policy.counts is Counts.LOSS:
            line.fails_with = verdict.result
            self.trials.lost(line, seconds, is_sure=verdict.policy.is_sure)
            return False
        self.trials.undecided(line)
        is_free = stay.berth.circuit.needs_proof
        if self._retrying.take(line, verdict, seconds=seconds, is_free=is_free):
            return False
        self._refusals.ended(line)
        await self.outcomes.failed(line, verdict.result)
        return True

    def _fail(self, line: ReadyLine, result: Answer | NoAnswer) -> None:
        """Settle a line that is not under way."""
        line.held.under_way += 1  # until it is durable
        task = asyncio.get_running_loop().create_task(self.outcomes.failed(line, result))
        self._failing.add(task)
        task.add_done_callback(self._failing.discard)

    def _return(self, line: ReadyLine) -> None:
        """Put a line back that nobody took."""
        if self.trials.wants(line):
            self.trials.add(line)
        else:
            self._ready.add_first(line)

    async def _send(
        self, line: ReadyLine, body: bytes, stay: Stay, left_s: float
    ) -> Reply | Broken:
        """Send the line; where its backend hangs that is its end, as if the connection were lost."""
        started = time.monotonic()
        try:
            return await self._upstream.send(
                line.held.batch.endpoint,
                body,
                request_id=line.name,
                backend=stay.berth.pin,
                within_s=left_s,
            )
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if stay.hung is None or task is None or task.uncancel():
                raise
            seconds = time.monotonic() - started
            return Broken(Break.HUNG, stay.hung, seconds, stay.berth.name)

    def _tell(self, line: ReadyLine, stay: Stay, reply: Reply | Broken, verdict: Verdict) -> None:
        """Let the circuits hear of it; a loss on the way there is no backend's."""
        if isinstance(verdict, Succeeded):
            self._placement.heard(stay, News(Sign.WELL, reply.backend))
            return
        row, body = POLICIES[verdict.reason], line.body or b""
        news = News(
            row.sign,
            reply.backend,
            why_of(reply, verdict.reason, endpoint=line.held.batch.endpoint, request=body),
            lacking=row.lacking,
            size_bytes=len(body),
        )
        if isinstance(reply, Broken) and reply.backend is None:
            self._placement.lost_way(stay, news)
        else:
            self._placement.heard(stay, news)
        if row.lacking is Lacking.MODEL:
            self._list_again(stay.berth.name)

    def _setting(self, line: ReadyLine, stay: Stay) -> Setting:
        return Setting(
            now=self._clock(),
            endpoint=line.held.batch.endpoint,
            request=line.body or b"",
            may_be_stale=not line.was_stale,
            is_leaving=stay.berth.is_leaving,
        )
