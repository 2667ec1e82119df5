"""Errors in Anthropic's form, and which requests get it: all below `/v1/messages`. Pure.

The type of an error follows from its status, whatever a model server calls it (Anthropic API reference,
Errors).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from batchline.api.objects.encoding import encode
from batchline.jsonl.result_lines import error_object

ROOT = "/v1/messages"
REQUEST_ID = "request-id"
"""The header that tells Anthropic's clients the id of a request."""

_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_SERVER_ERRORS = 500


class AnthropicErrorObject(msgspec.Struct, frozen=True, kw_only=True):
    """The error itself."""

    type: str
    message: str


class AnthropicError(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every 4xx and 5xx below `/v1/messages`, and of each request of a batch that erred."""

    type: Literal["error"] = "error"
    error: AnthropicErrorObject
    request_id: str | None


class _Said(msgspec.Struct):
    message: object = None


class _Passed(msgspec.Struct):
    error: _Said


def has_form(path: str) -> bool:
    """Whether requests to this path get errors in Anthropic's form."""
    return path == ROOT or path.startswith(ROOT + "/")


def error_type(status: int) -> str:
    """Return what Anthropic calls an error of this status."""
    return _TYPES.get(status) or (
        "invalid_request_error" if status < _SERVER_ERRORS else "api_error"
    )


def anthropic_error(status: int, message: str, *, request_id: str | None) -> AnthropicError:
    """Make the error of a status."""
    error = AnthropicErrorObject(type=error_type(status), message=message)
    return AnthropicError(error=error, request_id=request_id)


def translated(status: int, body: bytes, *, request_id: str) -> bytes:
    """Return a model server's error answer in Anthropic's form, whatever form it has."""
    return encode(anthropic_error(status, said(status, body), request_id=request_id))


def said(status: int, body: bytes) -> str:
    """Return the message of a model server's error answer; of one without, the answer's beginning."""
    try:
        message = msgspec.json.decode(error_object(status, body), type=_Passed).error.message
    except (msgspec.DecodeError, RecursionError):
        message = None
    if isinstance(message, str) and message:
        return message
    return f"The model server answered {status} and did not say why."
