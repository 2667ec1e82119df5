"""What an error object says: about the line, the route, the model, or the engine. Pure.

Servers word the same thing in many ways; the texts below are those of vLLM, OpenAI, LiteLLM, FastAPI and of
the engines' own libraries.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

_READ_CHARS = 4096
_NOT_FOUND = 404
_ROUTE_TEXTS = (
    "invalid url",
    "unknown request url",
    "no route",
    "no such route",
    "no such endpoint",
)
_ROUTE_MESSAGES = ("not found", "method not allowed", "resource not found")
"""A framework's own words: whoever says no more has not looked at the request."""
_ENGINE_TEXTS = (
    "out of range float values are not json compliant",
    "cuda error",
    "cuda out of memory",
    "cudnn error",
    "cublas_status",
    "nccl error",
    "hip error",
    "hip out of memory",
    "xpu out of memory",
    "device-side assert",
    "out of memory",
    "outofmemoryerror",
    "enginedeaderror",
)
_MODEL_CODES = ("model_not_found", "model_not_available")


@dataclass(frozen=True, slots=True)
class ErrorObject:
    """An error object of an answer, in lower case: it is compared, never shown."""

    message: str
    code: str


Body = bytes | msgspec.Raw
"""JSON text, as it came."""


class _Error(msgspec.Struct):
    error: object = None
    detail: object = None


class _Named(msgspec.Struct):
    model: str | None = None


def read_error(body: bytes) -> ErrorObject | None:
    """Read what an error answer says of the request; None where it says nothing of it.

    FastAPI's list of faults in the request speaks of it, too; its bare text does not.
    """
    try:
        found = msgspec.json.decode(body, type=_Error)
    except (msgspec.DecodeError, RecursionError):
        return None
    if isinstance(found.error, dict):
        message, code = found.error.get("message"), found.error.get("code")
        return ErrorObject(_lower(message), _lower(code))
    return ErrorObject(_lower(found.detail), "") if isinstance(found.detail, list) else None


def is_about_route(error: ErrorObject, endpoint: str) -> bool:
    """Whether it says only that there is no such route."""
    message = error.message.strip(" .")
    if not message or message in _ROUTE_MESSAGES or message.startswith(_ROUTE_TEXTS):
        return True
    return bool(endpoint) and endpoint in message and "not found" in message


def names_model(status: int, error: ErrorObject, request: Body) -> bool:
    """Whether it says that there is no such model as the request asks for."""
    if error.code in _MODEL_CODES:
        return True
    if status != _NOT_FOUND:
        return False
    model = (model_of(request) or "")[:_READ_CHARS].lower()
    return bool(model) and bool(
        re.search(rf"(?<![\w./-]){re.escape(model)}(?![\w/-])", error.message)
    )


def model_of(request: Body) -> str | None:
    """Return the model that a request names, or None."""
    try:
        return msgspec.json.decode(request, type=_Named).model
    except (msgspec.DecodeError, RecursionError):
        return None


def tells_of_engine(error: ErrorObject) -> bool:
    """Whether it tells of the engine's trouble, in an answer that blames the request."""
    return any(text in error.message for text in _ENGINE_TEXTS)


def _lower(value: object) -> str:
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return text[:_READ_CHARS].lower()
