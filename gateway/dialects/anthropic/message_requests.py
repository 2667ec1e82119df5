"""The requests of a message batch, as they come: each becomes a line for `/v1/messages`. Pure.

What holds them together is checked here, at once: their number, `custom_id`, that there are `params`. What
the params say is looked at line by line, when they are sent. A long request is stored as it is, and becomes
a line in a second pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from batchline.api import parameters
from batchline.api.parameters import JsonObject
from batchline.errors import Invalid, RequestTooLarge
from batchline.jsonl.surrogates import without_lone_surrogates
from gateway.new_batches.inherited_fields import REFUSED
from gateway.new_batches.request_array import FIELD, Piece, RequestArray, invalid_request

from .errors import ROOT

_CUSTOM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SPACES_FOR_BREAKS = bytes.maketrans(b"\r\n", b"  ")
_ABSENT = msgspec.UNSET
_Field = msgspec.Raw | msgspec.UnsetType
_MARK_BYTES = 16
"""Of a custom_id's digest: two of 100,000 are equal by chance once in 10^28 batches."""


class _Request(msgspec.Struct):
    custom_id: _Field = _ABSENT
    params: _Field = _ABSENT


_decode = msgspec.json.Decoder(_Request).decode


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many requests a batch may have, and how long one may be; how long the rest of the body may be."""

    requests: int
    request_bytes: int
    frame_bytes: int


class MessageRequests:
    """One body being read: feed its chunks, which returns lines, then ask for its `fields`.

    It remembers 16 bytes of each custom_id.
    """

    def __init__(self, bounds: Bounds, *, too_large: Callable[[], Exception]) -> None:
        """`too_large` makes what is raised once the body without its requests is too long."""
        self._bounds = bounds
        self._array = RequestArray(frame_bytes=bounds.frame_bytes, too_large=too_large)
        self._seen: set[bytes] = set()
        self._long: set[int] = set()
        self._held_bytes = 0

    @property
    def are_there(self) -> bool:
        """Whether the body holds an array of requests, as far as it was read."""
        return self._array.has_begun

    @property
    def count(self) -> int:
        """How many there were."""
        return self._array.count

    @property
    def needs_second_pass(self) -> bool:
        """Whether some were too long to become lines as they came."""
        return bool(self._long)

    def feed(self, chunk: bytes) -> bytes:
        """Return the lines that `chunk` completes, and parts of a long one. Raises Invalid, `too_large`."""
        return b"".join([self._written(piece) for piece in self._array.feed(chunk)])

    def fields(self) -> JsonObject:
        """Return the fields of the whole body, the requests left out. Raises Invalid."""
        fields = parameters.json_object(self._array.frame())
        requests = parameters.required(fields, FIELD)
        if not self.are_there:
            raise parameters.wrong_type(FIELD, "an array", requests)
        if not self.count:
            raise Invalid(f"Invalid '{FIELD}': there is none. Send at least one.", param=FIELD)
        del fields[FIELD]
        return fields

    def second_pass(self, number: int, line: bytes) -> bytes:
        """Make a line of a long request; return any other line as it is. Raises Invalid."""
        return self._line(number, line) if number in self._long else line

    def _written(self, piece: Piece) -> bytes:
        number = piece.number
        if number >= self._bounds.requests:
            raise RequestTooLarge(
                f"Invalid '{FIELD}': there are more than {self._bounds.requests:,}, the most allowed in "
                "one batch. Make several batches.",
                param=FIELD,
            )
        self._held_bytes += len(piece.text)
        if self._held_bytes > self._bounds.request_bytes:
            raise RequestTooLarge(
                f"Invalid '{FIELD}.{number}': it is longer than {self._bounds.request_bytes:,} bytes, the "
                "most allowed (BATCHLINE_MAX_LINE_BYTES). Send less, or ask the operator to raise that.",
                param=f"{FIELD}.{number}",
            )
        if not piece.ends:
            self._long.add(number)
            return piece.text.translate(_SPACES_FOR_BREAKS)
        self._held_bytes = 0
        if number in self._long:
            return piece.text.translate(_SPACES_FOR_BREAKS) + b"\n"
        return self._line(number, piece.text) + b"\n"

    def _line(self, number: int, text: bytes) -> bytes:
        try:
            request, params = _read(text)
        except REFUSED as exc:
            why = (
                "it is nested too deeply"
                if isinstance(exc, RecursionError)
                else f"it is none: {exc}"
            )
            raise invalid_request(number, f"expected an object, but {why}") from exc
        custom_id = self._custom_id(request.custom_id, f"{FIELD}.{number}.custom_id")
        _check_params(params, f"{FIELD}.{number}.params")
        head = f'{{"custom_id":"{custom_id}","method":"POST","url":"{ROOT}","body":'
        return head.encode() + params.translate(_SPACES_FOR_BREAKS) + b"}"

    def _custom_id(self, raw: _Field, param: str) -> str:
        if isinstance(raw, msgspec.UnsetType):
            raise parameters.missing(param)
        try:
            custom_id = msgspec.json.decode(raw, type=str)
        except REFUSED:
            custom_id = ""
        if not _CUSTOM_ID.fullmatch(custom_id):
            text = f"Invalid '{param}': expected a string of 1 to 64 letters, digits, '-' and '_'."
            raise Invalid(text, param=param, code="invalid_value")
        mark = blake2b(custom_id.encode(), digest_size=_MARK_BYTES).digest()
        if mark in self._seen:
            text = f"Invalid '{param}': '{custom_id}' is there twice. Each must be unique in its batch."
            raise Invalid(text, param=param, code="duplicate_custom_id")
        self._seen.add(mark)
        return custom_id


def _read(text: bytes) -> tuple[_Request, bytes]:
    """Return the request and its params, as they were written; they may hold halves of surrogate pairs."""
    try:
        request = _decode(text)
    except msgspec.DecodeError:
        whole = without_lone_surrogates(text)
        if whole == text:
            raise
        request = _decode(whole)
        params = bytes(request.params or b"")
        start = whole.rindex(params)  # the lengths are equal, so the place is the same
        return request, text[start : start + len(params)]
    return request, bytes(request.params or b"")


def _check_params(params: bytes, param: str) -> None:
    if not params:
        raise parameters.missing(param)
    if params[:1] != b"{":
        raise Invalid(f"Invalid '{param}': expected an object.", param=param, code="invalid_type")
