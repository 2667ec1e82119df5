"""What a client asks to be answered in the background, as the one line of a batch. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from mmap import mmap

import msgspec

from batchline.api import bodies, parameters
from batchline.errors import Invalid
from batchline.jsonl.body_rules import BodyRules
from batchline.jsonl.line_check import Rules, examine

ENDPOINT = "/v1/responses"

_CUSTOM_ID = "response"
_NOT_SENT = ("background", "stream")
"""Fields that the model server does not get: it answers at once, in one piece."""


class _Peek(msgspec.Struct):
    background: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Read(msgspec.Struct):
    """Fields that are read here; all others are the model server's."""

    stream: parameters.Json = None
    store: parameters.Json = None
    metadata: parameters.Json = None


_peek = msgspec.json.Decoder(_Peek).decode
_read = msgspec.json.Decoder(_Read).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class BackgroundRequest:
    """A checked request. `line` is the input of its batch."""

    model: str
    metadata: Mapping[str, str] | None
    line: bytes


def is_background(body: bytes | mmap) -> bool:
    """Whether a JSON object asks to be answered in the background. Raises Invalid: it is none."""
    try:
        found = _peek(body).background
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise parameters.not_json(exc) from exc
    return not isinstance(found, msgspec.UnsetType) and bytes(found) == b"true"


def read_background_request(rules: BodyRules, body: bytes | mmap) -> BackgroundRequest:
    """Check a request and make its line. Values stay as they were sent, digit for digit. Raises Invalid."""
    try:
        read, fields = _read(body), _fields(body)
    except (msgspec.MsgspecError, RecursionError) as exc:
        raise parameters.not_json(exc) from exc
    _refuse_modes(read)
    for name in _NOT_SENT:
        fields.pop(name, None)
    line = _line(fields)
    found = examine(line, Rules(ENDPOINT, body=rules))
    for fault in found.faults:
        param = fault.param.removeprefix("body.") if fault.param else None
        raise Invalid(fault.message, param=param, code=fault.code)
    assert found.model is not None, "a line without a model has a fault"
    return BackgroundRequest(found.model, bodies.metadata(read.metadata), line)


def _refuse_modes(read: _Read) -> None:
    if read.stream:
        raise Invalid(
            "A response in the background cannot be streamed: there is nobody to stream to. Leave "
            "'stream' out, and ask for the response by its id.",
            param="stream",
            code="unsupported_value",
        )
    if read.store is False:
        raise Invalid(
            "A response in the background is kept until it is asked for: 'store' must be true. Leave "
            "it out, and delete the response when you have it.",
            param="store",
            code="unsupported_value",
        )


def _line(fields: Mapping[str, msgspec.Raw]) -> bytes:
    """Make the line; line breaks between values become spaces (strings hold none)."""
    request = {"custom_id": _CUSTOM_ID, "method": "POST", "url": ENDPOINT, "body": fields}
    text = msgspec.json.encode(request)
    return text.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
