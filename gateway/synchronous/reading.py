"""One request of a call, read and filled. Pure.

It is a line of an input file, as JSON or as a string of JSON, that may lack custom_id, method, url and model.
Two short forms are understood: a chat whose body has `prompt` in place of `messages`, and embeddings of
`text` in place of `input`. A body that needs nothing goes on byte for byte; of any other, each value does.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from batchline.api import parameters
from batchline.api.endpoints import AUDIO, ENDPOINTS
from batchline.errors import Invalid
from batchline.jsonl.body_rules import BodyRules
from batchline.model import Fault

LONGEST_CUSTOM_ID = 1024
"""Characters: a call holds its answers in memory, and each repeats it."""

_PATHS = tuple(path for path in ENDPOINTS if path not in AUDIO)
"""Those for audio take a form with a file, and a request here is JSON."""
_CHAT, _EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
_BY_FIELD = {
    "messages": _CHAT,
    "prompt": _CHAT,
    "input": _EMBEDDINGS,
    "text": _EMBEDDINGS,
    "text_1": "/v1/score",
    "query": "/v1/rerank",
}
"""Where a body goes that names no url, by the first of these fields that it has."""
_NULL = msgspec.Raw(b"null")
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
_Fields = dict[str, msgspec.Raw]


class _Line(msgspec.Struct):
    custom_id: msgspec.Raw = _NULL
    method: msgspec.Raw = _NULL
    url: msgspec.Raw = _NULL
    body: msgspec.Raw = _NULL


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_fields = msgspec.json.Decoder(_Fields).decode


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that can be sent: `body` to `path`."""

    is_text: bool
    """It came as a string of JSON, and its response goes as one."""
    custom_id: str | None
    path: str
    body: bytes
    lacks_model: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that cannot be sent."""

    is_text: bool
    custom_id: str | None
    fault: Fault


def read(text: bytes, rules: BodyRules) -> Asked | Refused:
    """Read one element of `requests`; it must keep the rules of interactive requests."""
    is_text = text.startswith(b'"')
    custom_id = None
    try:
        line = _decode_line(_decode_text(text) if is_text else text)
        custom_id = _custom_id(line.custom_id)
        if not _is(line.method, b"null"):
            _one_of(("POST",), line.method, param="method")
        path, body, lacks_model = _read_body(line, rules)
    except Invalid as exc:
        fault = Fault(exc.code or "invalid_request", exc.message, None, exc.param)
        return Refused(is_text, custom_id, fault)
    except _UNREADABLE as exc:
        return Refused(is_text, custom_id, _unreadable(exc))
    return Asked(is_text, custom_id, path, body, lacks_model)


def with_model(asked: Asked, served: Collection[str]) -> Asked | Refused:
    """Fill in the model where there is no choice."""
    if len(served) == 1:
        fields = _decode_fields(asked.body)
        fields.pop("model", None)
        named = {"model": msgspec.Raw(msgspec.json.encode(*served)), **fields}
        return replace(asked, body=msgspec.json.encode(named), lacks_model=False)
    if served:
        listed = ", ".join(f"'{name}'" for name in sorted(served))
        why = parameters.shown(f"Name one of those that are served: {listed}")
    else:
        why = "Name one: no model server is known to serve any at present"
    message = f"Missing required parameter: 'model'. {why}."
    fault = Fault("missing_required_parameter", message, None, "body.model")
    return Refused(asked.is_text, asked.custom_id, fault)


def _custom_id(raw: msgspec.Raw) -> str | None:
    if _is(raw, b"null"):
        return None
    return parameters.short_string(_value(raw), param="custom_id", longest=LONGEST_CUSTOM_ID)


def _one_of(options: Sequence[str], raw: msgspec.Raw, *, param: str) -> str:
    text = parameters.string(_value(raw), param=param)
    if text not in options:
        raise Invalid(  # an error in a response has no param, so that the message names the field
            f"Invalid '{param}': '{parameters.shown(text)}'. Supported values are: {', '.join(options)}.",
            param=param,
            code="invalid_value",
        )
    return text


def _read_body(line: _Line, rules: BodyRules) -> tuple[str, bytes, bool]:
    """Return path, body, and whether it lacks a model. Raises Invalid, one of `_UNREADABLE`."""
    body = bytes(line.body)
    if body == b"null":
        raise parameters.missing("body")
    if not body.startswith(b"{"):
        raise parameters.wrong_type("body", "an object", _value(line.body))
    fields = _decode_fields(body)
    path = _path_for(fields)
    if not _is(line.url, b"null"):
        path = _one_of(_PATHS, line.url, param="url")
    if not _is(fields.get("stream", _NULL), b"null", b"false"):
        raise Invalid(
            "Streaming is not possible in a call of many requests. Leave 'stream' out, or send this "
            f"request to {path}.",
            param="body.stream",
            code="streaming_unsupported",
        )
    if fault := next(rules.faults(body, prefix="body."), None):
        raise Invalid(fault.message, param=fault.param, code=fault.code)
    if _fill(path, fields):
        body = msgspec.json.encode(fields)
    return path, body, _is(fields.get("model", _NULL), b"null")


def _path_for(fields: _Fields) -> str:
    return next((path for name, path in _BY_FIELD.items() if name in fields), _CHAT)


def _fill(path: str, fields: _Fields) -> bool:
    """Turn a short form into what model servers understand; return whether it was one."""
    if path == _CHAT and "prompt" in fields and "messages" not in fields:
        prompt = fields.pop("prompt")
        if not bytes(prompt).startswith(b'"'):
            raise parameters.wrong_type("body.prompt", "a string", _value(prompt))
        message = {"role": "user", "content": prompt}
        fields["messages"] = msgspec.Raw(msgspec.json.encode([message]))
        return True
    if path == _EMBEDDINGS and "text" in fields and "input" not in fields:
        fields["input"] = fields.pop("text")
        return True
    return False


def _is(raw: msgspec.Raw, *texts: bytes) -> bool:
    """Whether a value is one of these short texts. Absent ones stand as null, which some clients send."""
    return bytes(memoryview(raw)[:6]) in texts


def _value(raw: msgspec.Raw) -> Any:
    return msgspec.json.decode(raw)


def _unreadable(exc: Exception) -> Fault:
    why = "it is nested too deeply" if isinstance(exc, RecursionError) else str(exc)
    message = f"This request is not a JSON object, nor a string of one: {parameters.shown(why)}."
    return Fault("invalid_request", message)
