"""Lines on their way: ready, in flight, waiting for their retry.

    ready ─► in flight ─► the settler
      ▲          │ retry: later; no backend: when the gate opens
      └──────────┘
What a reply means is `verdict`'s decision, where a line goes `balancer`'s, how many may fly
`in_flight_limit`'s, whose lines come `pump`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from batchline.clock import Clock
from batchline.metrics import Metrics
from batchline.serving.request_log import REQUESTS
from dispatcher.attempts.isolated_attempts import IsolatedAttempts
from dispatcher.attempts.leased_slices import ReadyLine, UnderWay
from dispatcher.attempts.line_rules import LineRules
from dispatcher.attempts.quarantine import is_suspect
from dispatcher.attempts.refusals import Refusals
from dispatcher.attempts.retrying import TOO_LATE_S, Retrying, RetryLimits
from dispatcher.backends.backend import Backend, Slot
from dispatcher.backends.balancer import Balancer
from dispatcher.backends.lacks import Need
from dispatcher.replies.policy import Counts
from dispatcher.replies.verdict import (
    Answer,
    Failed,
    NoAnswer,
    NoBackend,
    Retry,
    Succeeded,
    model_gone,
    our_fault,
)

from .attempt import Sender
from .ended_lines import Outcomes
from .gate import Gate
from .memory import Memory
from .ready import AHEAD_LINES, Ready

log = logging.getLogger(__name__)
log_of_lines = logging.getLogger(REQUESTS)

_SOONEST_S = 0.01


class _Send(NamedTuple):
    """One line under way at one backend."""

    line: ReadyLine
    slot: Slot
    under_way: UnderWay


class Flight:
    """The lines ready and in flight. `wants_lines` is set when more could be sent than is ready."""

    def __init__(
        self,
        sender: Sender,
        balancer: Balancer,
        outcomes: Outcomes,
        *,
        memory: Memory,
        rules: LineRules,
        retry: RetryLimits,
        gate: Gate,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._sender = sender
        self._balancer = balancer
        self.outcomes = outcomes
        self._gate = gate
        self._memory = memory
        self._rules = rules
        self._ready = Ready(balancer, memory)
        self.isolated = IsolatedAttempts(
            balancer,
            metrics=metrics,
            clock=clock,
            need_of=self._ready.need,
            on_free=self._ready.add_first,
            on_failed=self._fail,
        )
        self._refusals = Refusals(
            balancer,
            metrics=metrics,
            clock=clock,
            on_free=self._ready.add_first,
            on_failed=self._fail,
        )
        self._retrying = Retrying(
            retry,
            metrics=metrics,
            clock=clock,
            looks=lambda: balancer.looks,
            on_due=self.dispatch,
            on_suspect=self.isolated.add,
        )
        self._tasks: dict[asyncio.Task[None], _Send] = {}
        self._failing: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None
        self._soon: asyncio.Handle | None = None
        self._idle, self.wants_lines = asyncio.Event(), asyncio.Event()
        self._is_draining = self._is_all = False
        self.limit = 1

    @property
    def in_flight(self) -> int:
        """Requests sent and not yet answered."""
        return len(self._tasks)

    def in_flight_by_batch(self) -> dict[str, int]:
        """Count the requests in flight of each batch that has any."""
        return Counter(send.line.held.batch.id for send in self._tasks.values())

    @property
    def room(self) -> int:
        """How many more lines are wanted: none while nothing may be sent."""
        if self._is_draining or not self._gate.is_open:
            return 0
        return max(0, max(AHEAD_LINES, self.limit) - len(self._ready))

    def set_limit(self, limit: int) -> None:
        """Allow this many requests in flight."""
        self.limit = limit
        self._balancer.set_limit(limit)
        self._retrying.look_after_losses()
        self._refusals.release()
        self._retrying.measure(suspects=len(self.isolated))
        self.dispatch()

    def add(self, lines: Iterable[ReadyLine]) -> None:
        """Take lines that are to be sent; `dispatch` sends them. One that is bad by itself fails at once."""
        good = []
        for line in lines:
            if (refusal := self._rules.refusal(line)) is None:
                good.append(line)
            else:
                self._fail(line, refusal)
        self._ready.add(good)

    def record_claim(self, *, is_all: bool) -> None:
        """Take in whether there is nothing left to claim: then retries may have idle places."""
        self._is_all = is_all
        self._send_ready()

    def dispatch(self) -> None:
        """Send what may be sent."""
        self._send_ready()
        if self.room:
            self.wants_lines.set()

    def _send_ready(self) -> None:
        for line in self._retrying.due():
            self._ready.add_first(line)
        if self._may_send():
            for line, slot in self.isolated.next(at_most=self.limit - len(self._tasks)):
                self._start(line, slot)
        while self._may_send() and (found := self._next()) is not None:
            self._start(*found)
        for line in self._ready.gone():
            self._fail(
                line, model_gone(line.model, self._balancer.serving.models, request_id=line.name)
            )
        self._come_back()

    def wants(self, model: str | None, endpoint: str) -> bool:
        """Whether such lines shall be claimed: not while nobody may take more of them."""
        return self._ready.wants(Need(model, endpoint))

    def waiting(self) -> dict[str, str]:
        """Say of which batches (by id) lines wait that no backend in service takes, and why."""
        return self._ready.waiting()

    def record_canary(self, backend: Backend, fault: str | None) -> None:
        """Take in that a canary was answered by a backend that has to prove itself, or why it was not."""
        self._balancer.record_canary(backend, fault)
        self.dispatch()

    def abort(self, backend: Backend) -> None:
        """Take the lines away from a backend that hangs: they are tried elsewhere."""
        for task, (_, slot, _) in self._tasks.items():
            if slot.backend is backend and slot.hung is None and not slot.has_answer:
                slot.hung = backend.circuit.reason or "hangs"
                task.cancel()

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
        tasks = [*self._tasks, *self._failing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def forget(self, batch_id: str) -> None:
        """Forget what is known of a batch that does not run any more."""
        self._retrying.forget(batch_id)
        self._refusals.forget(batch_id)
        self.outcomes.failures.forget(batch_id)

    # -- sending

    def _next(self) -> tuple[ReadyLine, Slot] | None:
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
        """Dispatch again when an open circuit may be tried, if lines wait for that."""
        if self._again is not None or not self._ready or not self._may_send():
            return
        if (delay_s := self._balancer.opens_in_s()) is not None:
            delay_s = max(_SOONEST_S, delay_s)
            self._again = asyncio.get_running_loop().call_later(delay_s, self._came_back)

    def _came_back(self) -> None:
        self._again = None
        self.dispatch()

    def _start(self, line: ReadyLine, slot: Slot) -> None:
        self._retrying.record_send(line)
        self._memory.pin(line)
        under_way = UnderWay(line.held, partial(self._land, line, slot))
        task = asyncio.get_running_loop().create_task(self._run(line, slot, under_way))
        self._tasks[task] = _Send(line, slot, under_way)
        line.held.tasks.add(task)
        task.add_done_callback(self._end)

    async def _run(self, line: ReadyLine, slot: Slot, under_way: UnderWay) -> None:
        """Send the line once and see to what becomes of it.

        What is kept of it here ends in the same moment: it may be on its way again before its task is done.
        """
        with under_way:
            try:
                await self._attempt(line, slot)
            except Exception:
                log_of_lines.exception("line %d of %s broke", line.index, line.held.batch.id)
                self._retrying.take(line, our_fault())

    def _land(self, line: ReadyLine, slot: Slot) -> None:
        """Give back what a send of this line took."""
        self._balancer.release(slot)
        self._memory.unpin(line)
        self.isolated.release(line)  # unless it has ended already
        if line.held.is_leaving:
            self.wants_lines.set()

    def _end(self, task: asyncio.Task[None]) -> None:
        line, slot, under_way = self._tasks.pop(task)
        line.held.tasks.discard(task)
        under_way.end()  # where it was cancelled before it began
        if task.cancelled() and slot.hung and line.held.may_send:
            self._return(line)  # it was not sent yet
        if not self._tasks:
            self._idle.set()
        if self._soon is None:  # once for all lines that end in the same moment
            self._soon = asyncio.get_running_loop().call_soon(self._dispatch_now)

    def _dispatch_now(self) -> None:
        self._soon = None
        self.dispatch()

    async def _attempt(self, line: ReadyLine, slot: Slot) -> None:
        """Send the line once, and hand it to whoever has it next."""
        if (spent_with := self._retrying.fails_with(line)) is not None:
            self._refusals.withdraw(line)
            await self.outcomes.fail(line, spent_with)
            return
        left_s = self._retrying.left_s(line)
        within_s = max(left_s, TOO_LATE_S)
        if left_s <= 0 or (made := await self._sender.send(line, slot, within_s)) is None:
            return  # its batch expires, or fails, in a moment
        verdict, seconds = made
        match verdict:
            case Succeeded(answer, usage):
                self.isolated.record_answer(line)
                self._retrying.record_answer(line)
                self._refusals.record_answer(line, slot)
                await self.outcomes.succeed(line, answer, usage)
            case Failed(result, _) if not verdict.is_refusal:
                self.isolated.release(line)
                self._refusals.withdraw(line)
                await self.outcomes.fail(line, result)
            case Failed(result, _):
                self.isolated.record_answer(line)
                if self._refusals.record_refusal(line, verdict, slot):
                    await self.outcomes.fail(line, result)
            case Retry():
                await self._retry(line, slot, verdict, seconds)
            case NoBackend():
                self.isolated.release(line)
                self._return(line)

    async def _retry(self, line: ReadyLine, slot: Slot, verdict: Retry, seconds: float) -> None:
        """Try it again later or, if that is over, settle it.

        What a backend does that has to prove itself is no evidence against the line.
        """
        if self.isolated.has_under_way(line) and verdict.policy.counts is Counts.LOSS:
            self.isolated.record_loss(line, verdict, seconds)
            return
        self.isolated.release(line)
        is_free = slot.backend.circuit.needs_proof
        if verdict.after_s and self._balancer.serving.has_other(slot.need, than=slot.backend.name):
            verdict = replace(verdict, after_s=None)  # only this backend asks for time
        if not self._retrying.take(
            line, verdict, backend=slot.backend, seconds=seconds, is_free=is_free
        ):
            self._refusals.withdraw(line)
            await self.outcomes.fail(line, verdict.result)

    def _fail(self, line: ReadyLine, result: Answer | NoAnswer) -> None:
        """Settle a line that is not under way."""
        self._refusals.withdraw(line)
        task = asyncio.get_running_loop().create_task(self.outcomes.fail(line, result))
        self._failing.add(task)
        task.add_done_callback(self._failing.discard)

    def _return(self, line: ReadyLine) -> None:
        """Put a line back that nobody took."""
        if is_suspect(line.attempts):
            self.isolated.add(line)
        else:
            self._ready.add_first(line)
