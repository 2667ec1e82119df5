"""Whether most lines of a batch fail. Pure.

Judged by the batch's own counts, so that every process says the same.
"""

from __future__ import annotations

from .model import Batch
from .states import BatchStatus

_TOLD_FROM = 100
"""So many lines must have finished before it is told: fewer prove little."""


def most_fail(batch: Batch, *, of: int) -> bool:
    """Say whether more than half of `of` or more lines failed; those before its last resume do not count."""
    finished = batch.counts.finished - batch.finished_at_resume
    failed = batch.counts.failed - batch.failed_at_resume
    return finished >= of and 2 * failed > finished


def is_failing(batch: Batch) -> bool:
    """Say whether people are to be told at present that most lines of the batch fail."""
    runs = batch.status is BatchStatus.IN_PROGRESS and batch.paused_at is None
    return runs and most_fail(batch, of=_TOLD_FROM)
