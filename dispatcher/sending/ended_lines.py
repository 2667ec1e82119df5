"""How each line ends: its record is made, counted, and handed to the settler.

From the call on the line is the settler's; what is returned, and to be awaited, waits while that is full.
"""

from __future__ import annotations

from collections.abc import Coroutine
from functools import cache
from typing import Any

from batchline.jsonl.result_lines import answer_record, error_record
from batchline.metrics import Metrics
from batchline.model import Outcome, Usage
from batchline.states import OutcomeKind
from dispatcher.attempts.leased_slices import ReadyLine
from dispatcher.attempts.pause_on_failures import Failures
from dispatcher.replies.verdict import (
    Answer,
    Failed,
    NoAnswer,
    NoBackend,
    Retry,
    Succeeded,
    Verdict,
)

from .memory import Memory
from .settle import Settler

Handover = Coroutine[Any, Any, None]


class Outcomes:
    """The way of finished lines to the settler."""

    def __init__(self, settler: Settler, *, memory: Memory, metrics: Metrics) -> None:
        self._settler = settler
        self._memory = memory
        self._metrics = metrics
        self._attempts = cache(metrics.attempts.labels)
        self.failures = Failures()

    def succeed(self, line: ReadyLine, answer: Answer, usage: Usage) -> Handover:
        """Take a line over that was answered."""
        return self._take_over(line, OutcomeKind.SUCCEEDED, answer, usage)

    def fail(self, line: ReadyLine, result: Answer | NoAnswer) -> Handover:
        """Take a line over that failed for good."""
        self.failures.note(line.held.batch.id, result)
        return self._take_over(line, OutcomeKind.FAILED, result, Usage())

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

    def _take_over(
        self, line: ReadyLine, kind: OutcomeKind, result: Answer | NoAnswer, usage: Usage
    ) -> Handover:
        match result:
            case Answer(status, body, upstream_id):
                record = answer_record(
                    line.name, line.custom_id, status=status, upstream_id=upstream_id, body=body
                )
            case NoAnswer(code, message):
                record = error_record(line.name, line.custom_id, code=code, message=message)
        held = line.held
        held.settling += 1
        self._memory.free(line)
        return self._settler.put(held.batch, held.lease, Outcome(line.index, kind, record, usage))
