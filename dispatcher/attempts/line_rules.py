"""The check of single lines, of batches in which a bad line fails alone (`OnFaults.FAIL_LINES`). Pure.

The lines of other batches were checked before any was sent (`batches.admit`).
"""

from __future__ import annotations

from batchline.jsonl.body_rules import BodyRules
from batchline.jsonl.line_check import Rules, body_faults
from batchline.jsonl.result_lines import error_body
from batchline.outbound.media_urls import MediaRules
from batchline.states import OnFaults
from dispatcher.attempts.leased_slices import ReadyLine
from dispatcher.replies.verdict import Answer

_BAD_REQUEST = 400


class LineRules:
    """What the body of a line must fulfil, beside what its endpoint needs."""

    def __init__(self, body: BodyRules, media: MediaRules) -> None:
        self._body = body
        self._media = media

    def refusal(self, line: ReadyLine) -> Answer | None:
        """Return what a bad line fails with, as if a model server had refused it; None if it may be sent."""
        batch = line.held.batch
        if batch.on_faults is OnFaults.FAIL_BATCH or line.body is None:
            return None
        rules = Rules(batch.endpoint, body=self._body, media=self._media)
        faults = body_faults(line.body, rules)
        if not faults:
            return None
        message = " ".join(fault.message for fault in faults)
        first = faults[0]
        body = error_body(message, kind="invalid_request_error", code=first.code, param=first.param)
        return Answer(_BAD_REQUEST, body, line.name)
