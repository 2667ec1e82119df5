"""Fills into request lines what they lack and their batch knows: method, url and model. Pure.

What a line has stays as it is, byte for byte. Whether it is a good line is not decided here: that is the
dispatcher's check, as for every input file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from batchline.api.endpoints import DEFAULT_ENDPOINT, ENDPOINTS

REFUSED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What `fill` raises for a line that is no JSON object."""

_Fields = dict[str, msgspec.Raw]
_decode = msgspec.json.Decoder(_Fields).decode
_POST = msgspec.Raw(b'"POST"')


class _Body(msgspec.Struct):
    model: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_body = msgspec.json.Decoder(_Body).decode


@dataclass(frozen=True, slots=True)
class Known:
    """What a batch knows of its lines; None where it does not (yet)."""

    endpoint: str | None = None
    model: str | None = None


def known_of(fields: Mapping[str, Any]) -> Known:
    """Take what the fields of a create say; a value that cannot be one is not taken."""
    endpoint, model = fields.get("endpoint"), fields.get("model")
    return Known(
        endpoint if endpoint in ENDPOINTS else None,
        model if isinstance(model, str) and model else None,
    )


class Inheritance:
    """The lines of one input being filled; remembers what could not be filled in."""

    def __init__(self, known: Known, *, takes_first_url: bool = False) -> None:
        """`takes_first_url`: lines without a url get that of the first one, if no endpoint is known."""
        self.endpoint = known.endpoint
        self.first_url: str | None = None
        """The url of the first line, where it is an endpoint."""
        self._takes_first_url = takes_first_url and known.endpoint is None
        self._lacks_url = False
        self._lacks_model = False
        self._is_first = True
        self._url = _raw(known.endpoint)
        self._model = _raw(known.model)

    def fill(self, line: bytes) -> bytes:
        """Return the line with what it lacked, without a newline. Raises one of `REFUSED`."""
        fields = _decode(line)
        changed = False
        if self._is_first:
            self._is_first = False
            self.first_url = _endpoint(fields.get("url"))
            if self._takes_first_url:
                self.endpoint = self.first_url or DEFAULT_ENDPOINT
                self._url = _raw(self.endpoint)
        if _lacks(fields.get("method")):
            fields["method"] = _POST
            changed = True
        if _lacks(fields.get("url")):
            if self._url is None:
                self._lacks_url = True
            else:
                fields["url"] = self._url
                changed = True
        body = fields.get("body")
        if body is not None and _is_object(body) and _lacks(_decode_body(body).model):
            if self._model is None:
                self._lacks_model = True
            else:
                fields["body"] = _with_model(body, self._model)
                changed = True
        return msgspec.json.encode(fields) if changed else line

    def needs(self, known: Known) -> bool:
        """Whether lines were left without something that is known by now."""
        return (self._lacks_url and known.endpoint is not None) or (
            self._lacks_model and known.model is not None
        )


def _raw(text: str | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(msgspec.json.encode(text))


def _lacks(value: msgspec.Raw | msgspec.UnsetType | None) -> bool:
    """Whether a field is absent; null is what some clients send for that."""
    return not isinstance(value, msgspec.Raw) or bytes(value) == b"null"


def _is_object(value: msgspec.Raw) -> bool:
    return memoryview(value)[:1].tobytes() == b"{"


def _endpoint(value: msgspec.Raw | None) -> str | None:
    """Return a url that a batch can have."""
    try:
        url = None if value is None else msgspec.json.decode(value, type=str)
    except REFUSED:
        return None
    return url if url in ENDPOINTS else None


def _with_model(body: msgspec.Raw, model: msgspec.Raw) -> msgspec.Raw:
    fields = _decode(body)
    fields.pop("model", None)
    return msgspec.Raw(msgspec.json.encode({"model": model, **fields}))
