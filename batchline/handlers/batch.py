"""The batch that a handler gets: what the API says of it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from batchline.model import Batch


class EndedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that has ended. Times are Unix seconds."""

    id: str
    status: str
    """`completed`, `expired` or `cancelled`; one that failed has no results."""
    endpoint: str
    """Such as `/v1/chat/completions`."""
    model: str | None
    """What all lines name; None if they name several."""
    metadata: Mapping[str, str]
    created_at: int
    ended_at: int
    total: int
    """How many lines it has, and so results."""
    completed: int
    failed: int
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None


def ended_batch(batch: Batch) -> EndedBatch:
    """Show a batch to handlers. It has ended."""
    assert batch.ended_at is not None, "handlers are told the end of batches"
    return EndedBatch(
        id=batch.id,
        status=batch.status.value,
        endpoint=batch.endpoint,
        model=batch.model,
        metadata=dict(batch.metadata or {}),
        created_at=batch.created_at,
        ended_at=batch.ended_at,
        total=batch.counts.total,
        completed=batch.counts.completed,
        failed=batch.counts.failed,
        input_file_id=batch.input_file_id,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
    )
