"""One attempt of one line: its body is read, it is sent, the reply is judged, and its backend hears of it.

What becomes of the line is `flight`'s matter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from batchline.clock import Clock
from batchline.errors import StoreUnavailable
from batchline.process.failpoints import failpoint
from batchline.serving.request_log import REQUESTS
from dispatcher.attempts.leased_slices import ReadyLine
from dispatcher.backends.backend import News, Slot
from dispatcher.backends.balancer import Balancer
from dispatcher.backends.circuit import Signal
from dispatcher.backends.lacks import Lacking
from dispatcher.replies.policy import POLICIES
from dispatcher.replies.upstream import Break, Broken, Reply, Upstream
from dispatcher.replies.verdict import Setting, Succeeded, Verdict, judge, without_body
from dispatcher.replies.wording import why_of

from .bodies import Bodies
from .ended_lines import Outcomes

log = logging.getLogger(REQUESTS)


class Sender:
    """Sends lines. `list_again` is told whose list of models is not true any more."""

    def __init__(
        self,
        upstream: Upstream,
        balancer: Balancer,
        bodies: Bodies,
        *,
        outcomes: Outcomes,
        clock: Clock,
        list_again: Callable[[str], None],
    ) -> None:
        self._upstream = upstream
        self._balancer = balancer
        self._bodies = bodies
        self._outcomes = outcomes
        self._clock = clock
        self._list_again = list_again

    async def send(
        self, line: ReadyLine, slot: Slot, within_s: float
    ) -> tuple[Verdict, float] | None:
        """Send a line once; return the verdict and how many seconds it took. None: its batch is broken."""
        try:
            body = line.body or await self._bodies.of(line)
        except StoreUnavailable as exc:
            log.warning("line %d of %s waits for its body: %s", line.index, line.held.batch.id, exc)
            return without_body(), 0.0
        if body is None:
            return None
        failpoint("send.before")
        started = self._clock.monotonic()
        reply: Reply | Broken
        try:
            reply = await self._upstream.send(
                line.held.batch.endpoint,
                body,
                request_id=line.name,
                backend=slot.backend.pin,
                within_s=within_s,
            )
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if slot.hung is None or task is None or task.uncancel():
                raise
            # Where its backend hangs that is its end, as if the connection were lost.
            seconds = self._clock.monotonic() - started
            reply = Broken(Break.HUNG, slot.hung, seconds, slot.backend.name)
        slot.has_answer = True
        failpoint("send.answered")
        verdict = judge(reply, self._setting(line, slot))
        self._outcomes.measure(verdict, reply.seconds)
        self._tell(line, slot, reply, verdict)
        return verdict, reply.seconds

    def _tell(self, line: ReadyLine, slot: Slot, reply: Reply | Broken, verdict: Verdict) -> None:
        """Let the circuits hear of it; a loss on the way there is no backend's."""
        if isinstance(verdict, Succeeded):
            self._balancer.record_result(slot, News(Signal.OK, reply.backend))
            return
        row, body = POLICIES[verdict.reason], line.body or b""
        news = News(
            row.signal,
            reply.backend,
            why_of(reply, verdict.reason, endpoint=line.held.batch.endpoint, request=body),
            lacking=row.lacking,
            size_bytes=len(body),
            is_lost_on_the_way=isinstance(reply, Broken) and reply.backend is None,
        )
        self._balancer.record_result(slot, news)
        if row.lacking is Lacking.MODEL:
            self._list_again(slot.backend.name)

    def _setting(self, line: ReadyLine, slot: Slot) -> Setting:
        return Setting(
            now=self._clock.now(),
            endpoint=line.held.batch.endpoint,
            request=line.body or b"",
            may_be_stale=not line.attempts.was_stale,
            is_leaving=slot.backend.is_leaving,
        )
