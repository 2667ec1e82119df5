r"""The row that a result becomes in a table of PostgreSQL. Pure.

PostgreSQL keeps neither NUL (`\u0000`) nor half of a surrogate pair (`\ud800`); JSON may hold both. Each
becomes U+FFFD. All else of an answer stays as the model server wrote it, long numbers, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from batchline.handlers import Result
from batchline.jsonl.surrogates import without_lone_surrogates

_ESCAPE = re.compile(rb"\\(?:(u0000)|.)", re.DOTALL)
_MOST_TOKENS = 1 << 62


class Row(NamedTuple):
    """Its fields are the columns."""

    batch_id: str
    custom_id: str
    line: int
    status_code: int | None
    text: str | None
    error_code: str | None
    error_message: str | None
    model: str | None
    finish_reason: str | None
    input_tokens: int | None
    output_tokens: int | None
    response: str | None
    request: str | None


COLUMNS = Row._fields


class _Response(msgspec.Struct):
    body: msgspec.Raw


class _Line(msgspec.Struct):
    """A line of a result file, or of an input file."""

    response: _Response | None = None
    body: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(_Line)


def row_of(batch_id: str, given: Result) -> Row:
    """Make the row of a result; `request` only where it brings one."""
    result = Result(given.index, _mended(given.raw))
    error_code, error_message = result.error or (None, None)
    body = result.body
    usage = body.get("usage")
    return Row(
        batch_id=batch_id,
        custom_id=result.custom_id,
        line=result.index,
        status_code=result.status_code,
        text=result.text,
        error_code=error_code,
        error_message=error_message,
        model=_word(body.get("model")),
        finish_reason=_finish_reason(body),
        input_tokens=_count(usage, "prompt_tokens", "input_tokens"),
        output_tokens=_count(usage, "completion_tokens", "output_tokens"),
        response=_response(result.raw),
        request=None if given.raw_request is None else _request(given.raw_request),
    )


def _mended(text: bytes) -> bytes:
    text = without_lone_surrogates(text)
    if b"\\u0000" not in text:
        return text
    return _ESCAPE.sub(lambda found: rb"\ufffd" if found[1] else found[0], text)


def _response(line: bytes) -> str | None:
    response = _decoder.decode(line).response
    return None if response is None else bytes(response.body).decode()


def _request(line: bytes) -> str:
    return bytes(_decoder.decode(_mended(line)).body).decode()


def _finish_reason(body: Mapping[str, Any]) -> str | None:
    choices = body.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return _word(choices[0].get("finish_reason"))
    return _word(body.get("stop_reason"))


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(usage: Any, *names: str) -> int | None:
    if isinstance(usage, dict):
        for name in names:
            value = usage.get(name)
            if isinstance(value, int) and 0 <= value <= _MOST_TOKENS:
                return int(value)
    return None
