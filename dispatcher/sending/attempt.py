"""One attempt of one line: its body is read, it is sent, the reply is judged, and its backend hears of it.

What becomes of the line is `flight`'s matter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from batchline.api.endpoints import AUDIO
from batchline.clock import Clock
from batchline.errors import StoreUnavailable
from batchline.process.failpoints import failpoint
from batchline.serving.request_log import REQUESTS
from dispatcher.attempts.leased_slices import ReadyLine
from dispatcher.attempts.retrying import TOO_LATE_S
from dispatcher.backends.backend import News, Slot
from dispatcher.backends.balancer import Balancer
from dispatcher.backends.circuit import Signal
from dispatcher.backends.lacks import Lacking
from dispatcher.media.audio import Audio
from dispatcher.media.fetch import OutOfDescriptors, Unfetched
from dispatcher.replies.policy import POLICIES
from dispatcher.replies.upstream import JSON, Break, Broken, Reply, Upstream
from dispatcher.replies.verdict import (
    Setting,
    Succeeded,
    Verdict,
    judge,
    not_sent,
    without_body,
    without_media,
)
from dispatcher.replies.wording import why_of

from .bodies import Bodies
from .ended_lines import Outcomes

log = logging.getLogger(REQUESTS)


@dataclass(frozen=True, slots=True)
class _Content:
    """What is posted."""

    body: bytes | bytearray
    kind: str = JSON


class Sender:
    """Sends lines. `list_again` is told whose list of models is not true any more."""

    def __init__(
        self,
        upstream: Upstream,
        balancer: Balancer,
        bodies: Bodies,
        *,
        audio: Audio,
        outcomes: Outcomes,
        clock: Clock,
        list_again: Callable[[str], None],
    ) -> None:
        self._upstream = upstream
        self._balancer = balancer
        self._bodies = bodies
        self._audio = audio
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
        if line.held.batch.endpoint in AUDIO:
            return await self._send_audio(line, slot, body, within_s)
        return await self._post(line, slot, _Content(body), within_s)

    async def _send_audio(
        self, line: ReadyLine, slot: Slot, body: bytes, within_s: float
    ) -> tuple[Verdict, float]:
        """Send the form that the body stands for. What is wrong with its file is no backend's doing."""
        began = self._clock.monotonic()
        try:
            with slot.backend.preparing(self._clock):
                form = await self._audio.form_of(body, within_s=within_s)
        except (Unfetched, OutOfDescriptors) as exc:
            verdict: Verdict = not_sent()
            if isinstance(exc, Unfetched):
                verdict = without_media(str(exc), is_final=exc.is_final)
            seconds = self._clock.monotonic() - began
            self._outcomes.measure(verdict, seconds)
            return verdict, seconds
        with form:
            left_s = max(TOO_LATE_S, within_s - (self._clock.monotonic() - began))
            return await self._post(line, slot, _Content(form.body, form.content_type), left_s)

    async def _post(
        self, line: ReadyLine, slot: Slot, content: _Content, within_s: float
    ) -> tuple[Verdict, float]:
        failpoint("send.before")
        started = self._clock.monotonic()
        reply: Reply | Broken
        try:
            reply = await self._upstream.send(
                line.held.batch.endpoint,
                content.body,
                request_id=line.name,
                backend=slot.backend.pin,
                within_s=within_s,
                content_type=content.kind,
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
        self._tell(line, slot, reply, verdict, size_bytes=len(content.body))
        return verdict, reply.seconds

    def _tell(
        self,
        line: ReadyLine,
        slot: Slot,
        reply: Reply | Broken,
        verdict: Verdict,
        *,
        size_bytes: int,
    ) -> None:
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
            size_bytes=size_bytes,
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
