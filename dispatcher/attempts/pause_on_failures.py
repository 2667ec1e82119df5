"""A batch of which most lines fail: told, and paused where its owner wants that (`on_failures: "pause"`).

The share is judged by the batch's own counts (`batchline.failing`), so a restart changes nothing. Which
failures are the commonest is counted here, in memory, and starts afresh with the dispatcher.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice

from batchline.failing import is_failing, most_fail
from batchline.model import Batch, Fault
from batchline.states import BatchStatus, OnFailures
from dispatcher.replies.kinds_of_failure import Signature
from dispatcher.replies.verdict import Answer, NoAnswer

from .refusals import signature

PAUSE_FROM = 50
"""So many lines must have finished before a batch is paused: fewer prove nothing."""
_MOST_KINDS = 64
"""More kinds of failures of one batch are not told apart: the commonest come early."""
_KINDS_SHOWN = 3
_MOST_TOLD = 100  # batches: the report is written each second


class Failures:
    """How often each kind of failure came, of each batch that runs."""

    def __init__(self) -> None:
        self._kinds: dict[str, Counter[Signature]] = {}
        self._failing: dict[str, None] = {}  # in the order in which they began to

    @property
    def failing(self) -> int:
        """Of how many batches most lines fail at present."""
        return len(self._failing)

    def note(self, batch_id: str, result: Answer | NoAnswer) -> None:
        """Count a line that failed for good."""
        kinds = self._kinds.setdefault(batch_id, Counter())
        kind = signature(result)
        if kind in kinds or len(kinds) < _MOST_KINDS:
            kinds[kind] += 1

    def look(self, batch: Batch) -> None:
        """Take note of whether most lines of this batch fail at present."""
        if is_failing(batch):
            self._failing[batch.id] = None
        else:
            self._failing.pop(batch.id, None)

    def forget(self, batch_id: str) -> None:
        """Forget a batch that does not run any more."""
        self._kinds.pop(batch_id, None)
        self._failing.pop(batch_id, None)

    def commonest(self, batch_id: str) -> list[tuple[Signature, int]]:
        """Return the commonest kinds and how often each came; empty if none is known."""
        return self._kinds.get(batch_id, Counter()).most_common(_KINDS_SHOWN)

    def told(self) -> dict[str, str]:
        """Return the commonest kind of failures of batches (by id) of which most lines fail."""
        known = (batch_id for batch_id in self._failing if batch_id in self._kinds)
        return {
            batch_id: str(self.commonest(batch_id)[0][0]) for batch_id in islice(known, _MOST_TOLD)
        }


def why_pause(batch: Batch, failures: Failures) -> Fault | None:
    """Say why the batch pauses by itself, or None."""
    if batch.status is not BatchStatus.IN_PROGRESS or batch.paused_at is not None:
        return None
    if batch.on_failures is not OnFailures.PAUSE or not most_fail(batch, of=PAUSE_FROM):
        return None
    finished = batch.counts.finished - batch.finished_at_resume
    failed = batch.counts.failed - batch.failed_at_resume
    kinds = "; ".join(f"{count:,} × {kind}" for kind, count in failures.commonest(batch.id))
    return Fault(
        "most_requests_failed",
        f"{failed:,} of the last {finished:,} requests failed."
        + (f" Most often: {kinds}." if kinds else "")
        + " The batch was created with on_failures 'pause'. Resume it to go on, or cancel it.",
    )
