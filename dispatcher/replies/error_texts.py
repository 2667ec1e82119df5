"""What an error object says: about the line, the route, the model, or the engine. Pure.

Servers word the same thing in many ways; the texts below are those of vLLM, OpenAI, LiteLLM, FastAPI and of
the engines' own libraries.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

import msgspec

_READ_CHARS = 4096
_NOT_FOUND = 404
_UNPROCESSABLE = 422
_JSON_BEGINS = (b"{", b"[", b'"')
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
_SHUTTING_DOWN = (b"cannot schedule new futures after",)
_ENGINE_DEAD = (
    b"EngineCore encountered an issue",
    b"EngineDeadError",
    b"Engine core proc",
    b"Background loop has errored",
    b"Engine loop is not running",
)
"""What vLLM says in a 500 while it goes down (its V1 engine, then those before)."""
_MODEL_CODES = ("model_not_found", "model_not_available")


class Dying(Enum):
    """How an engine goes down."""

    SHUTTING_DOWN = auto()
    DEAD = auto()


@dataclass(frozen=True, slots=True)
class ErrorText:
    """What an error answer says, as it came: its message and, of an error object, the rest."""

    message: str = ""
    code: str = ""
    """In words: a number repeats the status."""
    kind: str = ""
    is_object: bool = False
    """Whether it speaks of the request: an error object, or FastAPI's list of faults."""


Body = bytes | msgspec.Raw
"""JSON text, as it came."""


class _Object(msgspec.Struct):
    """OpenAI's error object."""

    message: object = None
    code: object = None
    type: object = None


class _Answer(_Object):
    """An answer that holds one, or is one: SGLang, LMDeploy and older vLLM send it flat."""

    error: object = None
    detail: object = None
    form: object = msgspec.field(default=None, name="object")

    @property
    def is_flat(self) -> bool:
        """Whether it is one. A message alone is not: gateways refuse routes and sizes with that."""
        is_told = self.form == "error" or self.type is not None or self.code is not None
        return self.error is None and isinstance(self.message, str) and is_told


class _Named(msgspec.Struct):
    model: str | None = None


def read_error(body: bytes) -> ErrorText:
    """Read what an error answer says, whatever form it has; of what is no JSON, its text.

    FastAPI's list of faults in the request speaks of it, as an error object does; its bare text does not.
    """
    try:
        found = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, RecursionError):
        return ErrorText(body[:_READ_CHARS].decode("utf-8", "replace"))
    if isinstance(found.error, dict):
        return _read_object(msgspec.convert(found.error, _Object))
    if found.is_flat:
        return _read_object(found)
    said = found.error or found.detail or found.message
    return ErrorText(_text(said), is_object=isinstance(found.detail, list))


def is_about_route(error: ErrorText, endpoint: str) -> bool:
    """Whether it says only that there is no such route."""
    message = _lower(error.message).strip(" .")
    if not message or message in _ROUTE_MESSAGES or message.startswith(_ROUTE_TEXTS):
        return True
    return bool(endpoint) and endpoint in message and "not found" in message


def names_model(status: int, error: ErrorText, request: Body) -> bool:
    """Whether it says that there is no such model as the request asks for."""
    if error.code.lower() in _MODEL_CODES:
        return True
    if status != _NOT_FOUND:
        return False
    model = _lower(model_of(request) or "")
    return bool(model) and bool(
        re.search(rf"(?<![\w./-]){re.escape(model)}(?![\w/-])", _lower(error.message))
    )


def model_of(request: Body) -> str | None:
    """Return the model that a request names, or None."""
    try:
        return msgspec.json.decode(request, type=_Named).model
    except (msgspec.DecodeError, RecursionError):
        return None


def is_foreign(status: int, body: bytes) -> bool:
    """Whether no model server says this: it is no JSON, but a page, a bare text, or nothing.

    A text with 422 is one's own: axum (TGI, TEI) so names what is wrong in a request.
    """
    begins = body[:_READ_CHARS].lstrip()[:1]
    if begins in _JSON_BEGINS:
        return False
    return status != _UNPROCESSABLE or begins in (b"", b"<")


def tells_of_engine(error: ErrorText) -> bool:
    """Whether it tells of the engine's trouble, in an answer that blames the request."""
    message = _lower(error.message)
    return any(text in message for text in _ENGINE_TEXTS)


def _read_object(found: _Object) -> ErrorText:
    code = found.code if isinstance(found.code, str) else ""
    return ErrorText(_text(found.message), code, _text(found.type), is_object=True)


def _text(value: object) -> str:
    if value is None:
        return ""
    return (
        value if isinstance(value, str) else msgspec.json.encode(value).decode("utf-8", "replace")
    )


def _lower(text: str) -> str:
    return text[:_READ_CHARS].lower()


def tells_of_death(body: bytes) -> Dying | None:
    """Whether a server error, in its first few KB, says that the engine goes down."""
    said = body[:_READ_CHARS]
    if any(text in said for text in _SHUTTING_DOWN):
        return Dying.SHUTTING_DOWN
    return Dying.DEAD if any(text in said for text in _ENGINE_DEAD) else None
