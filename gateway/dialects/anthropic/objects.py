"""Our batches as Anthropic's clients see them (Anthropic API reference, Message Batches). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from batchline.model import Batch
from batchline.states import TERMINAL, BatchStatus
from batchline.store.records import Page

from .errors import ROOT
from .ids import shown_id

BATCHES = ROOT + "/batches"


class MessageBatchCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests are where; all are `processing` until the batch has ended."""

    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0


class MessageBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch, as Anthropic's clients see it. Times are RFC 3339, in UTC."""

    id: str
    type: Literal["message_batch"] = "message_batch"
    processing_status: Literal["in_progress", "canceling", "ended"]
    request_counts: MessageBatchCounts
    ended_at: str | None
    created_at: str
    expires_at: str
    archived_at: str | None
    cancel_initiated_at: str | None
    results_url: str | None


class MessageBatchPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page, newest first. An empty page has no first and last id."""

    data: Sequence[MessageBatch]
    has_more: bool
    first_id: str | None
    last_id: str | None


class DeletedMessageBatch(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a deletion."""

    id: str
    type: Literal["message_batch_deleted"] = "message_batch_deleted"


def message_batch(batch: Batch) -> MessageBatch:
    """Show a batch. Nothing is ever archived here: what is gone is gone."""
    has_ended = batch.status in TERMINAL
    shown = shown_id(batch.id)
    return MessageBatch(
        id=shown,
        processing_status=_status(batch),
        request_counts=_counts(batch),
        ended_at=_time(batch.ended_at),
        created_at=_rfc3339(batch.created_at),
        expires_at=_rfc3339(batch.expires_at),
        archived_at=None,
        cancel_initiated_at=_time(batch.cancelling_at),
        # Relative, so that a client asks for it at the address by which it knows us.
        results_url=f"{BATCHES}/{shown}/results" if has_ended else None,
    )


def message_batch_page(page: Page[Batch]) -> MessageBatchPage:
    """Show one page."""
    data = [message_batch(batch) for batch in page.items]
    return MessageBatchPage(
        data=data,
        has_more=page.has_more,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
    )


def total(batch: Batch) -> int:
    """Return how many requests it has, as far as that is known: 0 until somebody counted them."""
    return batch.counts.total or batch.requests or 0


def _status(batch: Batch) -> Literal["in_progress", "canceling", "ended"]:
    if batch.status in TERMINAL:
        return "ended"
    return "canceling" if batch.status is BatchStatus.CANCELLING else "in_progress"


def _counts(batch: Batch) -> MessageBatchCounts:
    all_of_them, counts = total(batch), batch.counts
    match batch.status:
        case BatchStatus.COMPLETED | BatchStatus.CANCELLED | BatchStatus.EXPIRED:
            unrun = all_of_them - counts.finished
            return MessageBatchCounts(
                succeeded=counts.completed,
                errored=counts.failed,
                canceled=unrun if batch.status is BatchStatus.CANCELLED else 0,
                expired=unrun if batch.status is BatchStatus.EXPIRED else 0,
            )
        case BatchStatus.FAILED:
            return MessageBatchCounts(errored=all_of_them)
        case _:
            return MessageBatchCounts(processing=all_of_them)


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else _rfc3339(seconds)


def _rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
