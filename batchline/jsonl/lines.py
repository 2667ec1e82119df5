"""The lines of batch files: decodes request lines, makes result lines.

Request bodies and upstream answers stay raw bytes: nothing is decoded and encoded again. Result lines
follow OpenAI's Batch guide and hold no byte at which `str.splitlines()` would cut them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated

import msgspec

from batchline.model import Fault, Usage

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


# Escapes in JSON text, the pairs of surrogates and the halves told apart.
_ESCAPE = re.compile(
    rb"\\(?:(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_BOM = b"\xef\xbb\xbf"
_REPLACEMENT = rb"\ufffd"

# Strings are matched to leave their content alone; one that is not closed, so that its quotes are not tried
# one after another.
_STRAY = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|-?\bInfinity\b|-?\bNaN\b', re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x1f]")
_SHOWN_BYTES = 500
_MOST_TOKENS = 1 << 40  # a greater count is nonsense, and sums would not fit into the store


class RequestLine(msgspec.Struct):
    """The parts of a checked line that dispatching needs."""

    custom_id: str
    body: msgspec.Raw


_Tokens = Annotated[int, msgspec.Meta(ge=0, le=_MOST_TOKENS)]


class _PromptDetails(msgspec.Struct):
    cached_tokens: _Tokens | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: _Tokens | None = None


class _UsageBody(msgspec.Struct):
    prompt_tokens: _Tokens | None = None
    completion_tokens: _Tokens | None = None
    input_tokens: _Tokens | None = None
    output_tokens: _Tokens | None = None
    total_tokens: _Tokens | None = None
    prompt_tokens_details: _PromptDetails | None = None
    input_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class AnswerBody(msgspec.Struct):
    """The parts of an upstream's JSON object that its verdict needs."""

    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_request_decoder = msgspec.json.Decoder(RequestLine)
_answer_decoder = msgspec.json.Decoder(AnswerBody)
_usage_decoder = msgspec.json.Decoder(_UsageBody)


def without_lone_surrogates(text: bytes) -> bytes:
    """Replace each escaped half of a surrogate pair by U+FFFD; the length stays.

    JSON's grammar allows a half, so such a line is legal and goes out as it is; the decoder refuses it.
    """
    if b"\\ud" not in text and b"\\uD" not in text:
        return text
    return _ESCAPE.sub(lambda found: _REPLACEMENT if found[2] else found[0], text)


def decode_requests(data: bytes) -> list[RequestLine]:
    """Decode the requests of one slice's bytes; blank lines are skipped, a leading BOM too."""
    return [request for _, _, request in decode_placed(data)]


def decode_placed(data: bytes) -> list[tuple[int, int, RequestLine]]:
    """Decode the requests of one slice's bytes, each with the place and the length of its line in them."""
    found = []
    start = len(_BOM) if data.startswith(_BOM) else 0
    for line in data[start:].split(b"\n"):
        if line.strip():
            found.append((start, len(line), _decode_request(line)))
        start += len(line) + 1
    return found


def _decode_request(line: bytes) -> RequestLine:
    try:
        return _request_decoder.decode(line)
    except msgspec.DecodeError:
        whole = without_lone_surrogates(line)
        if whole == line:
            raise
    found = _request_decoder.decode(whole)
    body = bytes(found.body)
    start = whole.rindex(body)  # the lengths are equal, so the place is the same
    found.body = msgspec.Raw(line[start : start + len(body)])
    return found


class ReadAnswer(msgspec.Struct, frozen=True):
    """An upstream's answer: `text` is what it sent, byte for byte where that is JSON."""

    text: bytes
    shape: AnswerBody


def read_answer(body: bytes) -> ReadAnswer | None:
    """Read an upstream's answer; None where it is no JSON object or array. An array has no fields.

    Some servers write what JSON forbids: NaN and Infinity become null, raw control characters inside
    strings become escapes.
    """
    if not _is_utf8(body):
        return None
    shape = _decoded(body)
    if shape is None:
        body = _STRAY.sub(_mended, body)
        shape = _decoded(without_lone_surrogates(body))
    return None if shape is None else ReadAnswer(body, shape)


def _is_utf8(text: bytes) -> bool:
    """Check every byte: msgspec does not check what it skips."""
    if text.isascii():
        return True
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decoded(body: bytes) -> AnswerBody | None:
    try:
        if body[:1] == b"[":
            msgspec.json.decode(body, type=list[msgspec.Raw])
            return AnswerBody()
        return _answer_decoder.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None


def _mended(found: re.Match[bytes]) -> bytes:
    if not found[0].startswith(b'"'):
        return b"null"
    return _CONTROL.sub(lambda control: b"\\u%04x" % control[0][0], found[0])


def read_usage(answer: AnswerBody) -> Usage:
    """Read the tokens of an answer in either of OpenAI's spellings; zeros where there are none."""
    if is_null(answer.usage):
        return Usage()
    try:
        usage = _usage_decoder.decode(answer.usage)
    except msgspec.DecodeError:
        return Usage()
    prompt = usage.prompt_tokens or usage.input_tokens or 0
    output = usage.completion_tokens or usage.output_tokens or 0
    cached = usage.prompt_tokens_details or usage.input_tokens_details
    reasoning = usage.completion_tokens_details or usage.output_tokens_details
    return Usage(
        input_tokens=prompt,
        cached_tokens=(cached and cached.cached_tokens) or 0,
        output_tokens=output,
        reasoning_tokens=(reasoning and reasoning.reasoning_tokens) or 0,
        total_tokens=usage.total_tokens or prompt + output,
    )


def is_null(value: msgspec.Raw) -> bool:
    """Whether a field is absent or null."""
    return bytes(value) in (b"", b"null")


def answer_record(
    request_id: str, custom_id: str, *, status: int, upstream_id: str, body: bytes
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


def error_record(request_id: str, custom_id: str, *, code: str, message: str) -> bytes:
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
