"""The lines of result files, in the form of OpenAI's Batch guide.

Answers stay raw bytes: nothing is decoded and encoded again. A result line holds no byte at which
`str.splitlines()` would cut it.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from batchline.model import Fault

from .upstream_answers import read_answer

CANCELLED_CODE = "batch_cancelled"
CANCELLED_MESSAGE = "This request was not executed because the batch was cancelled."
EXPIRED_CODE = "batch_expired"
EXPIRED_MESSAGE = "This request could not be executed before the completion window expired."
TIMEOUT_CODE = "request_timeout"

# Raw in a JSON string these are legal, yet Python's splitlines() cuts there.
_SEPARATORS = (
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
    (b"\xc2\x85", b"\\u0085"),
)

_INDEX_IN_RECORD = slice(len('{"id": "batch_req_') + 24, len('{"id": "batch_req_') + 32)
"""Where `model.request_id` puts the index."""


_SHOWN_BYTES = 500


def answer_record(
    request_id: str, custom_id: str | None, *, status: int, upstream_id: str, body: bytes
) -> bytes:
    """Make the result line of a line that the upstream answered. `body` must be valid JSON."""
    return b"".join(
        (
            b'{"id": "',
            request_id.encode(),
            b'", "custom_id": ',
            _one_line(msgspec.json.encode(custom_id)),
            b', "response": {"status_code": %d, "request_id": ' % status,
            _one_line(msgspec.json.encode(_text(upstream_id))),
            b', "body": ',
            _one_line(body),
            b'}, "error": null}\n',
        )
    )


def error_record(request_id: str, custom_id: str | None, *, code: str, message: str) -> bytes:
    """Make the result line of a line that got no HTTP answer."""
    return b"".join(
        (
            b'{"id": "',
            request_id.encode(),
            b'", "custom_id": ',
            _one_line(msgspec.json.encode(custom_id)),
            b', "response": null, "error": ',
            _error(code, message),
            b"}\n",
        )
    )


@lru_cache(maxsize=16)  # a million unrun lines of one batch have the same one
def _error(code: str, message: str) -> bytes:
    return _one_line(msgspec.json.encode({"code": code, "message": message}))


def fault_record(fault: Fault) -> bytes:
    """Make the line that shows one fault of an input file in the form of result lines."""
    error = {
        "code": fault.code,
        "message": fault.message,
        "line": fault.line,
        "param": fault.param,
    }
    shown = {"id": None, "custom_id": None, "response": None, "error": error}
    return _one_line(msgspec.json.encode(shown)) + b"\n"


def record_index(record: bytes) -> int:
    """Read which request of its batch (from 0) a result line answers, from the line's own id."""
    return int(record[_INDEX_IN_RECORD], 16)


def error_body(message: str, *, kind: str, code: str | None, param: str | None = None) -> bytes:
    """Make an OpenAI error object for an upstream that did not send one."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return msgspec.json.encode({"error": error})


def error_object(status: int, body: bytes) -> bytes:
    """Return an upstream's error answer as it is if it holds OpenAI's error object, else make one."""
    answer = read_answer(body)
    if answer is not None and bytes(answer.shape.error)[:1] == b"{":
        return answer.text
    kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004
    message = f"The model server answered {status} without an OpenAI error object."
    return error_body(message + quoted(body), kind=kind, code=None)


def quoted(body: bytes) -> str:
    """Quote the beginning of an answer, as the last sentence of a message."""
    shown = body[:_SHOWN_BYTES].decode("utf-8", "replace").strip()
    return f" It said: {shown}" if shown else ""


def _one_line(text: bytes) -> bytes:
    if b"\n" in text or b"\r" in text:  # outside strings only: inside, JSON escapes them
        text = text.strip().replace(b"\r", b" ").replace(b"\n", b" ")
    if text.isascii():  # most are, and this is the fastest check
        return text
    for raw, escaped in _SEPARATORS:
        if raw in text:
            text = text.replace(raw, escaped)
    return text


def _text(header: str) -> str:
    """Return a header as text: bytes that are no UTF-8 come as lone surrogates."""
    return header.encode("utf-8", "replace").decode()
