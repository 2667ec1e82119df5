"""How each line ends: its record is made, counted, and handed to the settler."""

from __future__ import annotations

from functools import cache

from batchline.jsonl.lines import answer_record, error_record
from batchline.metrics import Metrics
from batchline.model import Outcome, Usage
from batchline.states import OutcomeKind
from dispatcher.attempts.brake import Failures
from dispatcher.attempts.held import ReadyLine
from dispatcher.replies.verdict import (
    Answer,
    Failed,
    NoAnswer,
    NoBackend,
    Retry,
    Succeeded,
    Verdict,
)

from .settle import Settler


class Outcomes:
    """The way of finished lines to the settler."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._attempts = cache(metrics.attempts.labels)
        self._settler: Settler | None = None
        self.failures = Failures()

    def use(self, settler: Settler) -> None:
        """Name the settler (what it settles goes to the pump, so it is made last)."""
        self._settler = settler

    async def succeeded(self, line: ReadyLine, answer: Answer, usage: Usage) -> None:
        """Settle a line as answered; waits while the settler is full."""
        await self._settle(line, OutcomeKind.SUCCEEDED, answer, usage)

    async def failed(self, line: ReadyLine, result: Answer | NoAnswer) -> None:
        """Settle a line as failed for good; waits while the settler is full."""
        self.failures.note(line.held.batch.id, result)
        await self._settle(line, OutcomeKind.FAILED, result, Usage())

    def measure(self, verdict: Verdict, seconds: float) -> None:
        """Count one attempt."""
        match verdict:
            case Succeeded():
                word, reason = "succeeded", "none"
            case Failed(_, why):
                word, reason = "failed", str(why)
            case Retry(_, why):
                word, reason = "retry", str(why)
            case NoBackend(_, why):
                word, reason = "no_backend", str(why)
        self._attempts(word, reason).inc()
        self._metrics.attempt_seconds.observe(seconds)

    async def _settle(
        self, line: ReadyLine, kind: OutcomeKind, result: Answer | NoAnswer, usage: Usage
    ) -> None:
        match result:
            case Answer(status, body, upstream_id):
                record = answer_record(
                    line.name, line.custom_id, status=status, upstream_id=upstream_id, body=body
                )
            case NoAnswer(code, message):
                record = error_record(line.name, line.custom_id, code=code, message=message)
        assert self._settler is not None, "use() comes before the first line"
        held = line.held
        await self._settler.put(held.batch, held.lease, Outcome(line.index, kind, record, usage))
