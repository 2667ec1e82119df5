"""Lines that a backend refused for good: whether that counts is `opinions`' decision, here it is carried out.

refused ─► it counts        ─► settled as failed
         ├ ask another one  ─► ready again, not for the same backend
         └ wait             ─► one of these two, when the backend has answered another line or was confirmed
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from batchline.clock import Clock
from batchline.metrics import Metrics
from dispatcher.backends.backend import Avoids, Slot
from dispatcher.backends.balancer import Balancer
from dispatcher.replies.kinds_of_failure import Signature, signature_of, without_answer
from dispatcher.replies.verdict import Answer, Failed, NoAnswer

from .leased_slices import ReadyLine
from .opinions import Kind, Opinion, Opinions


class Refusals:
    """The lines that wait for a second opinion, or for a sign that their backend works."""

    def __init__(
        self,
        balancer: Balancer,
        *,
        metrics: Metrics,
        clock: Clock,
        on_free: Callable[[ReadyLine], None],
        on_failed: Callable[[ReadyLine, Answer | NoAnswer], None],
    ) -> None:
        self._balancer = balancer
        self._metrics = metrics
        self._clock = clock
        self._on_free = on_free
        self._on_failed = on_failed
        self._opinions: Opinions[ReadyLine] = Opinions()

    def record_refusal(self, line: ReadyLine, verdict: Failed, slot: Slot) -> bool:
        """Take in a refusal; tell whether the line fails for it now."""
        name, before = slot.backend.name, line.attempts.refusals
        kind = Kind(line.held.batch.id, signature(verdict.result))
        opinion = self._opinions.record_refusal(
            line,
            kind,
            by=name,
            before=before,
            has_other=self._balancer.serving.has_other(slot.need, than=name),
            now=self._clock.monotonic(),
        )
        if before:
            self._metrics.second_opinions.labels("agreed").inc()
        line.attempts = line.attempts.refuse(slot.backend, kind, verdict.result)
        if opinion is Opinion.ELSEWHERE:
            self._send_elsewhere(line)
        self.release()
        return opinion is Opinion.COUNTS

    def record_answer(self, line: ReadyLine, slot: Slot) -> None:
        """Take in that a backend answered a line: whoever refused it may have been wrong."""
        before = line.attempts.refusals
        if self._opinions.is_idle and not before:
            return
        odd = self._opinions.record_answer(slot.backend.name, line, before)
        if before:
            self._metrics.second_opinions.labels("differed").inc()
        for backend in self._balancer.backends:
            if backend.name == odd:
                said = before[-1][1].signature
                self._balancer.require_proof(
                    backend, f"refuses what others answer ({said})", slot.need
                )
        self.release()

    def withdraw(self, line: ReadyLine) -> None:
        """Forget a line that has ended in yet another way."""
        self._opinions.forget(line, line.attempts.refusals)

    def release(self) -> None:
        """Let go of the lines that need not wait any longer; called with each look, too."""
        released = self._opinions.release(self._clock.monotonic(), is_wanted=_is_wanted)
        for line in released.fail:
            assert line.attempts.fails_with is not None, "it was refused"
            self._on_failed(line, line.attempts.fails_with)
        for line in released.elsewhere:
            self._send_elsewhere(line)

    def _send_elsewhere(self, line: ReadyLine) -> None:
        is_odd = self._opinions.is_odd(*line.attempts.refusals[-1])
        avoids = Avoids.ALWAYS if is_odd else Avoids.AWHILE
        line.attempts = replace(line.attempts, avoids=avoids)
        self._on_free(line)

    def forget(self, batch_id: str) -> None:
        """Forget what is known of a batch that does not run any more."""
        self._opinions.forget_batch(batch_id)


def signature(result: Answer | NoAnswer) -> Signature:
    """Return the signature of what a line fails with."""
    if isinstance(result, Answer):
        return signature_of(result.status, result.body)
    return without_answer(result.code, result.message)


def _is_wanted(line: ReadyLine) -> bool:
    return line.held.may_send
