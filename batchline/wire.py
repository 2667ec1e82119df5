"""OpenAI's JSON for files, batches, lists, models and errors, both ways.

Owns the shapes: every field is always present, null where it does not apply (OpenAI API reference).
Does not know HTTP, and not the lines of input and result files (`lines.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from . import checks
from .errors import Invalid
from .model import Batch, File, FleetReport, Page
from .settings import ENDPOINTS

INPUT_PURPOSES = ("fine-tune", "assistants", "batch", "user_data", "vision", "evals")
"""Purposes that clients may upload, in the order OpenAI's message lists them."""

MAX_METADATA_PAIRS = 16
MAX_METADATA_KEY_CHARACTERS = 64
MAX_METADATA_VALUE_CHARACTERS = 512
MIN_EXPIRY_S = 3600
MAX_EXPIRY_S = 30 * 86400
_UNIT_S = {"h": 3600, "d": 86400}
_MAX_WINDOW_S = 14 * 86400
_WINDOW = re.compile(r"([1-9][0-9]{0,2})([hd])")

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


class FaultObject(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why a batch failed."""

    code: str
    line: int | None
    message: str
    param: str | None


class FaultList(msgspec.Struct, frozen=True, kw_only=True):
    """All reasons: never a bare list."""

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
    """A batch, as clients see it."""

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
    request_counts: RequestCounts
    usage: UsageObject | None
    metadata: Mapping[str, str] | None


class ModelObject(msgspec.Struct, frozen=True, kw_only=True):
    """A model that some live backend serves. `created`: since when it has been served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "batchline"


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
    """What is left of a deleted file."""

    id: str
    object: Literal["file"] = "file"
    deleted: bool = True


class ErrorObject(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong; all four keys are always there."""

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


def batch_object(batch: Batch) -> BatchObject:
    """Show a batch to a client. Usage is null until some line succeeded."""
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
        request_counts=RequestCounts(
            total=batch.counts.total, completed=batch.counts.completed, failed=batch.counts.failed
        ),
        usage=_usage(batch),
        metadata=None if batch.metadata is None else dict(batch.metadata),
    )


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
    if not batch.counts.completed:
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


def batch_list(page: Page[Batch]) -> ListObject:
    """Show one page of batches."""
    return _list([batch_object(batch) for batch in page.items], has_more=page.has_more)


def _list(data: Sequence[FileObject] | Sequence[BatchObject], *, has_more: bool) -> ListObject:
    return ListObject(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        # A client that is told of more after an empty page would ask for ever.
        has_more=has_more and bool(data),
    )


def model_list(report: FleetReport | None) -> ModelList:
    """Show what the live backends serve, each since the first of them has been alive."""
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


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """The checked body of `POST /v1/batches`."""

    input_file_id: str
    endpoint: str
    completion_window: str
    window_s: int
    metadata: Mapping[str, str] | None
    output_expires_after_s: int | None


def read_batch_request(body: bytes) -> BatchRequest:
    """Decode and check the body of `POST /v1/batches`. Unknown fields are ignored. Raises Invalid."""
    fields = checks.json_object(body)
    window = checks.string(checks.required(fields, "completion_window"), param="completion_window")
    return BatchRequest(
        input_file_id=checks.string(
            checks.required(fields, "input_file_id"), param="input_file_id"
        ),
        endpoint=checks.choice(checks.required(fields, "endpoint"), ENDPOINTS, param="endpoint"),
        completion_window=window,
        window_s=window_seconds(window),
        metadata=_metadata(fields.get("metadata")),
        output_expires_after_s=_expiry(fields.get("output_expires_after")),
    )


def window_seconds(window: str) -> int:
    """Read a completion window: `24h`, or any whole hours or days from 1 h to 14 d."""
    found = _WINDOW.fullmatch(window)
    seconds = int(found[1]) * _UNIT_S[found[2]] if found else 0
    if not 0 < seconds <= _MAX_WINDOW_S:
        raise Invalid(
            f"Invalid value: '{window[:50]}'. Supported values are: '24h', or any whole number of "
            "hours or days from '1h' to '14d'.",
            param="completion_window",
            code="invalid_value",
        )
    return seconds


def _metadata(value: checks.Json) -> Mapping[str, str] | None:
    if value is None:
        return None
    pairs = checks.mapping(value, param="metadata")
    if len(pairs) > MAX_METADATA_PAIRS:
        raise Invalid(
            "Invalid 'metadata': too many properties. Expected an object with at most "
            f"{MAX_METADATA_PAIRS} properties, but got an object with {len(pairs)} properties "
            "instead.",
            param="metadata",
            code="object_above_max_properties",
        )
    for key, text in pairs.items():
        _check_metadata_key(key)
        checks.short_string(text, param=f"metadata.{key}", longest=MAX_METADATA_VALUE_CHARACTERS)
    return pairs


def _check_metadata_key(key: str) -> None:
    if len(key) > MAX_METADATA_KEY_CHARACTERS:
        raise Invalid(
            f"Invalid property name in 'metadata': '{key[:MAX_METADATA_KEY_CHARACTERS]}…' is too "
            f"long. Expected a string with maximum length {MAX_METADATA_KEY_CHARACTERS}, but got a "
            f"string with length {len(key)} instead.",
            param="metadata",
            code="property_name_above_max_length",
        )


def _expiry(value: checks.Json) -> int | None:
    if value is None:
        return None
    param = "output_expires_after"
    fields = checks.mapping(value, param=param)
    anchor = checks.required(fields, "anchor", param=f"{param}.anchor")
    checks.choice(anchor, ("created_at",), param=f"{param}.anchor")
    return checks.integer(
        checks.required(fields, "seconds", param=f"{param}.seconds"),
        param=f"{param}.seconds",
        lowest=MIN_EXPIRY_S,
        highest=MAX_EXPIRY_S,
    )


@dataclass(frozen=True, slots=True)
class FileForm:
    """The checked text fields of `POST /v1/files`. `expires_after_s` is None where not given."""

    purpose: str
    expires_after_s: int | None


def read_file_form(fields: Mapping[str, str]) -> FileForm:
    """Check the text fields of `POST /v1/files`. Raises Invalid."""
    purpose = checks.required(fields, "purpose")
    if purpose not in INPUT_PURPOSES:
        raise Invalid(
            f"'{purpose[:50]}' is not one of {list(INPUT_PURPOSES)} - 'purpose'", param="purpose"
        )
    anchor, seconds = "expires_after[anchor]", "expires_after[seconds]"
    if anchor not in fields and seconds not in fields:
        return FileForm(purpose, None)
    checks.choice(checks.required(fields, anchor), ("created_at",), param=anchor)
    return FileForm(
        purpose,
        checks.integer_text(
            checks.required(fields, seconds),
            param=seconds,
            lowest=MIN_EXPIRY_S,
            highest=MAX_EXPIRY_S,
        ),
    )
