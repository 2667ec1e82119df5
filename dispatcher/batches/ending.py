"""How a batch ends of which nothing more is sent, and as what its unanswered lines count. Pure."""

from __future__ import annotations

from batchline.model import Batch
from batchline.states import BatchStatus, OutcomeKind


def ending(batch: Batch) -> tuple[BatchStatus, OutcomeKind]:
    """Return the status this batch will end with, and what its unrun lines are called."""
    if batch.status is BatchStatus.CANCELLING:
        return BatchStatus.CANCELLED, OutcomeKind.CANCELLED
    whole = batch.counts.finished == batch.counts.total
    return (BatchStatus.COMPLETED if whole else BatchStatus.EXPIRED), OutcomeKind.EXPIRED
