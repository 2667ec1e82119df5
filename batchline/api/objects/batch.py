"""A batch, as clients see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from batchline.failing import is_failing
from batchline.model import Batch, FleetReport
from batchline.states import TERMINAL, OnFailures


class FaultObject(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why a batch failed."""

    code: str
    line: int | None
    message: str
    param: str | None


class FaultList(msgspec.Struct, frozen=True, kw_only=True):
    """All reasons, as OpenAI's list object."""

    object: Literal["list"] = "list"
    data: Sequence[FaultObject]


class RequestCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of a batch."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Part of the input tokens."""

    cached_tokens: int


class OutputTokensDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Part of the output tokens."""

    reasoning_tokens: int


class UsageObject(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens summed over successful lines."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class BatchObject(msgspec.Struct, frozen=True, kw_only=True):
    """A batch, as clients see it. `paused_at` and the fields that may be left out are extensions."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: FaultList | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    paused_at: int | None
    request_counts: RequestCounts
    usage: UsageObject | None
    metadata: Mapping[str, str] | None
    on_failures: Literal["pause"] | UnsetType = UNSET
    failing: str | UnsetType = UNSET
    callback_url: str | UnsetType = UNSET
    open: bool | UnsetType = UNSET


def batch_object(batch: Batch, report: FleetReport | None = None) -> BatchObject:
    """Show a batch to a client. Usage is null while it runs and no line has succeeded.

    `report`: if it is given, a batch of which most lines fail also tells why they fail.
    """
    return BatchObject(
        id=batch.id,
        endpoint=batch.endpoint,
        model=batch.model,
        errors=_fault_list(batch),
        input_file_id=batch.input_file_id,
        completion_window=batch.completion_window,
        status=batch.status.value,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        created_at=batch.created_at,
        in_progress_at=batch.in_progress_at,
        expires_at=batch.expires_at,
        finalizing_at=batch.finalizing_at,
        completed_at=batch.completed_at,
        failed_at=batch.failed_at,
        expired_at=batch.expired_at,
        cancelling_at=batch.cancelling_at,
        cancelled_at=batch.cancelled_at,
        paused_at=batch.paused_at,
        request_counts=RequestCounts(
            total=batch.counts.total, completed=batch.counts.completed, failed=batch.counts.failed
        ),
        usage=_usage(batch),
        metadata=None if batch.metadata is None else dict(batch.metadata),
        on_failures="pause" if batch.on_failures is OnFailures.PAUSE else UNSET,
        failing=_failing(batch, report) if is_failing(batch) else UNSET,
        callback_url=UNSET if batch.callback_url is None else batch.callback_url,
        open=UNSET if batch.appends is None else batch.takes_requests,
    )


def _failing(batch: Batch, report: FleetReport | None) -> str:
    kind = report.failing.get(batch.id) if report else None
    return f"Most lines fail: {kind}" if kind else "Most lines fail."


def _fault_list(batch: Batch) -> FaultList | None:
    if not batch.faults:
        return None
    return FaultList(
        data=[
            FaultObject(code=f.code, line=f.line, message=f.message, param=f.param)
            for f in batch.faults
        ]
    )


def _usage(batch: Batch) -> UsageObject | None:
    if not batch.counts.completed and batch.status not in TERMINAL:
        return None
    usage = batch.usage
    return UsageObject(
        input_tokens=usage.input_tokens,
        input_tokens_details=InputTokensDetails(cached_tokens=usage.cached_tokens),
        output_tokens=usage.output_tokens,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=usage.reasoning_tokens),
        total_tokens=usage.total_tokens,
    )
