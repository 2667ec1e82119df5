"""What became of a response in the background, as OpenAI's object. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import msgspec

from batchline.api.objects.encoding import encode
from batchline.jsonl.nesting import read_checked
from batchline.jsonl.result_lines import EXPIRED_CODE, EXPIRED_MESSAGE
from batchline.model import Batch
from batchline.states import BatchStatus

BATCH_PREFIX, PREFIX = "batch_", "resp_"
_TOO_MANY_REQUESTS, _SERVER_ERROR = 429, 500

Code = Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]


class ResponseError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a response failed; OpenAI's clients know no other codes than these."""

    code: Code
    message: str


class ResponseObject(msgspec.Struct, frozen=True, kw_only=True):
    """A response that has no answer: queued, running, cancelled or failed."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Literal["queued", "in_progress", "cancelled", "failed"]
    background: bool = True
    completed_at: int | None = None
    error: ResponseError | None = None
    incomplete_details: None = None
    instructions: None = None
    metadata: Mapping[str, str]
    model: str
    output: Sequence[Any] = ()
    parallel_tool_calls: bool = True
    temperature: float | None = None
    tool_choice: Literal["auto"] = "auto"
    tools: Sequence[Any] = ()
    top_p: float | None = None
    usage: None = None


class _Answer(msgspec.Struct):
    status_code: int
    body: msgspec.Raw


class _Reason(msgspec.Struct):
    code: str | None = None
    message: str | None = None


class _ResultLine(msgspec.Struct):
    response: _Answer | None
    error: _Reason | None


class _Said(msgspec.Struct):
    message: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _Said


_result = msgspec.json.Decoder(_ResultLine).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_error_body = msgspec.json.Decoder(_ErrorBody).decode


def response_id(batch: Batch) -> str:
    """Return the id by which clients know it."""
    return PREFIX + batch.id.removeprefix(BATCH_PREFIX)


def batch_id(response_id: str) -> str | None:
    """Return the id of its batch, or None if none can have this id."""
    if not response_id.startswith(PREFIX):
        return None
    return BATCH_PREFIX + response_id.removeprefix(PREFIX)


def has_answer(batch: Batch) -> bool:
    """Whether its result file says what became of it."""
    return batch.status in {BatchStatus.COMPLETED, BatchStatus.EXPIRED}


def unanswered(batch: Batch) -> bytes:
    """Encode a response as far as its batch tells of it."""
    match batch.status:
        case BatchStatus.VALIDATING:
            return _encoded(batch, "queued")
        case BatchStatus.CANCELLING | BatchStatus.CANCELLED:
            return _encoded(batch, "cancelled")
        case BatchStatus.FAILED:
            fault = next(iter(batch.faults or ()), None)
            is_ours = fault is None or fault.code == "internal_error"
            message = "The request could not be run." if fault is None else fault.message
            code: Code = "server_error" if is_ours else "invalid_prompt"
            return _encoded(batch, "failed", ResponseError(code=code, message=message))
        case _:
            return _encoded(batch, "in_progress" if batch.ended_at is None else "failed")


def answered(batch: Batch, record: bytes) -> bytes:
    """Encode a response by its result line: the model server's object under our id, or its error.

    What every response has and this one lacks is filled in. Raises msgspec.DecodeError where the record is
    no result line.
    """
    try:
        return read_checked(partial(_answered, batch), record)
    except msgspec.DecodeError:
        raise
    except ValueError:
        error = ResponseError(code="server_error", message="The answer is nested too deeply.")
        return _encoded(batch, "failed", error)


def _answered(batch: Batch, record: bytes) -> bytes:
    result = _result(record)
    if result.response is None:
        return _encoded(batch, "failed", _unrun(result.error or _Reason()))
    answer = result.response
    if answer.status_code >= 400:  # noqa: PLR2004
        return _encoded(batch, "failed", _refused(answer))
    usual: dict[str, Any] = {
        "error": None,
        "metadata": batch.metadata or {},
        "model": batch.model,
        "output": [],
    }
    known = {
        "object": "response",
        "id": response_id(batch),
        "created_at": batch.created_at,
        "completed_at": batch.ended_at,
        "background": True,
    }
    return msgspec.json.encode(usual | _fields(answer.body) | known)


def _encoded(batch: Batch, status: Any, error: ResponseError | None = None) -> bytes:
    return encode(
        ResponseObject(
            id=response_id(batch),
            created_at=batch.created_at,
            status=status,
            error=error,
            metadata=batch.metadata or {},
            model=batch.model or "",
        )
    )


def _unrun(reason: _Reason) -> ResponseError:
    message = EXPIRED_MESSAGE if reason.code == EXPIRED_CODE else reason.message
    return ResponseError(code="server_error", message=message or "The request was not answered.")


def _refused(answer: _Answer) -> ResponseError:
    try:
        message = _error_body(answer.body).error.message
    except msgspec.DecodeError:
        message = None
    code: Code = "invalid_prompt"
    if answer.status_code == _TOO_MANY_REQUESTS:
        code = "rate_limit_exceeded"
    elif answer.status_code >= _SERVER_ERROR:
        code = "server_error"
    return ResponseError(
        code=code, message=message or f"The model server answered {answer.status_code}."
    )
