"""The lines of batch files: decoding a request line, splicing a result line.

Request bodies and upstream answers stay raw bytes: nothing is decoded and encoded again. Result lines
follow OpenAI's Batch guide and hold no byte at which `str.splitlines()` would cut them.
"""

from __future__ import annotations

import msgspec

from .model import Usage

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


class RequestLine(msgspec.Struct):
    """What dispatching needs of a line that admission has checked."""

    custom_id: str
    body: msgspec.Raw


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _UsageBody(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    input_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class AnswerBody(msgspec.Struct):
    """What judging needs of an upstream's JSON object."""

    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    choices: list[msgspec.Raw] | None = None


_request_decoder = msgspec.json.Decoder(RequestLine)
_answer_decoder = msgspec.json.Decoder(AnswerBody)
_usage_decoder = msgspec.json.Decoder(_UsageBody)


def decode_requests(data: bytes) -> list[RequestLine]:
    """Decode the requests of one slice's bytes; blank lines are skipped, a leading BOM too."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return [_request_decoder.decode(line) for line in lines if line.strip()]


def decode_answer(body: bytes) -> AnswerBody:
    """Decode an upstream's answer.

    Raises msgspec.DecodeError, UnicodeDecodeError or RecursionError where it is no JSON object.
    """
    body.decode("utf-8")  # msgspec does not look inside what it skips
    return _answer_decoder.decode(body)


def read_usage(answer: AnswerBody) -> Usage:
    """Read the tokens of an answer in either of OpenAI's spellings; zeros where there are none."""
    if not bytes(answer.usage) or bytes(answer.usage) == b"null":
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


def answer_record(
    request_id: str, custom_id: str, *, status: int, upstream_id: str, body: bytes
) -> bytes:
    """Splice the result line of a line the upstream answered. `body` must be valid JSON."""
    return b"".join(
        (
            b'{"id": "',
            request_id.encode(),
            b'", "custom_id": ',
            _one_line(msgspec.json.encode(custom_id)),
            b', "response": {"status_code": %d, "request_id": ' % status,
            _one_line(msgspec.json.encode(upstream_id)),
            b', "body": ',
            _one_line(body),
            b'}, "error": null}\n',
        )
    )


def error_record(request_id: str, custom_id: str, *, code: str, message: str) -> bytes:
    """Make the result line of a line that got no HTTP answer."""
    error = _one_line(msgspec.json.encode({"code": code, "message": message}))
    return b"".join(
        (
            b'{"id": "',
            request_id.encode(),
            b'", "custom_id": ',
            _one_line(msgspec.json.encode(custom_id)),
            b', "response": null, "error": ',
            error,
            b"}\n",
        )
    )


def error_body(message: str, *, kind: str, code: str | None) -> bytes:
    """Make an OpenAI error object for an upstream that did not send one."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return msgspec.json.encode({"error": error})


def error_object(status: int, body: bytes) -> bytes:
    """Return an upstream's error answer as it is if it holds OpenAI's error object, else make one."""
    try:
        answer = decode_answer(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = None
    if answer is not None and bytes(answer.error)[:1] == b"{":
        return body
    kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004
    message = f"The model server answered {status} without an OpenAI error object."
    if answer is not None:
        message += f" It said: {body[:500].decode('utf-8', 'replace')}"
    return error_body(message, kind=kind, code=None)


def _one_line(text: bytes) -> bytes:
    if b"\n" in text or b"\r" in text:  # outside strings only: inside, JSON escapes them
        text = msgspec.json.format(text, indent=-1)
    for raw, escaped in _SEPARATORS:
        if raw in text:
            text = text.replace(raw, escaped)
    return text
