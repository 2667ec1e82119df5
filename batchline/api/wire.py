"""OpenAI's JSON for files, batches, lists, models and errors, as clients get it.

Owns the shapes: every field is always present, null if it does not apply (OpenAI API reference); only
extensions may be left out. What clients send is in `bodies.py` and `uploads.py`, the lines of files in
`batchline/jsonl/result_lines.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from batchline.failing import is_failing
from batchline.model import Batch, File, FleetReport, Page
from batchline.states import TERMINAL, OnFailures

from .upload_rules import Part, Upload

encode = msgspec.json.Encoder().encode
"""Write a shape as JSON: fields in the order they are declared, none left out."""


class FileObject(msgspec.Struct, frozen=True, kw_only=True):
    """A file, as clients see it."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: None = None


class UploadObject(msgspec.Struct, frozen=True, kw_only=True):
    """An upload in parts, as clients see it; `file` once it is completed."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: str
    file: FileObject | None


class PartObject(msgspec.Struct, frozen=True, kw_only=True):
    """One part of an upload, as clients see it."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


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


class ModelObject(msgspec.Struct, frozen=True, kw_only=True):
    """A model that a live backend serves. `created`: when it was first served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "batchline"
    shutdown_date: None = None


class ListObject(msgspec.Struct, frozen=True, kw_only=True):
    """One page. An empty page has no first and last id, and nothing follows it."""

    object: Literal["list"] = "list"
    data: Sequence[Any]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """All models: OpenAI does not page them."""

    object: Literal["list"] = "list"
    data: Sequence[ModelObject]


class DeletedObject(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to the deletion of a file or batch."""

    id: str
    object: Literal["file", "batch"] = "file"
    deleted: bool = True


class ErrorObject(msgspec.Struct, frozen=True, kw_only=True):
    """The error itself; all four keys are always there."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every 4xx and 5xx."""

    error: ErrorObject


def file_object(file: File) -> FileObject:
    """Show a file to a client."""
    return FileObject(
        id=file.id,
        bytes=file.bytes,
        created_at=file.created_at,
        expires_at=file.expires_at,
        filename=file.filename,
        purpose=file.purpose,
    )


def upload_object(upload: Upload, file: File | None = None) -> UploadObject:
    """Show an upload to a client."""
    return UploadObject(
        id=upload.id,
        bytes=upload.bytes,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
        filename=upload.filename,
        purpose=upload.purpose,
        status=upload.status.value,
        file=None if file is None else file_object(file),
    )


def part_object(part: Part) -> PartObject:
    """Show one part of an upload to a client."""
    return PartObject(id=part.id, created_at=part.created_at, upload_id=part.upload_id)


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


def file_list(page: Page[File]) -> ListObject:
    """Show one page of files."""
    return _list([file_object(file) for file in page.items], has_more=page.has_more)


def batch_list(page: Page[Batch], report: FleetReport | None = None) -> ListObject:
    """Show one page of batches; `report` as for one."""
    return _list([batch_object(batch, report) for batch in page.items], has_more=page.has_more)


def _list(data: Sequence[FileObject] | Sequence[BatchObject], *, has_more: bool) -> ListObject:
    return ListObject(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        # A client that is told of more after an empty page would ask again and again.
        has_more=has_more and bool(data),
    )


def model_list(report: FleetReport | None) -> ModelList:
    """Show the models of the live backends, each with the time at which the first of these came up."""
    if report is None:
        return ModelList(data=[])
    since: dict[str, int] = {}
    for backend in report.backends:
        for model in backend.models if backend.alive else ():
            since[model] = min(backend.since, since.get(model, backend.since))
    return ModelList(data=[ModelObject(id=m, created=since[m]) for m in sorted(since)])


def error_answer(
    message: str, *, kind: str, param: str | None = None, code: str | None = None
) -> ErrorAnswer:
    """Build the body of a 4xx or 5xx."""
    return ErrorAnswer(error=ErrorObject(message=message, type=kind, param=param, code=code))
