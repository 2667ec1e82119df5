"""Splits the JSON body of a create as it comes: the requests in it, and the frame around them. Pure.

The requests are the elements of the top-level array `requests`; the frame is the body with `[]` in place of
that array. A body without one is all frame. Time is linear in the bytes, whatever they are; memory is that of
the frame and of one short request. Raises Invalid.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from batchline.errors import Invalid

FIELD = "requests"
SHORT_BYTES = 1 << 16
"""A request is held until it is whole if it is shorter; parts of a longer one are passed on as they come."""

_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_MARKS = re.compile(rb'[^"\[\]{},:]*+')
# Below the fields of a request only brackets count: strings are stepped over, but not one that holds a line
# break, or does not end in this chunk.
_DEEP_MARKS = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\\r\n]++|\\[^\r\n])*+")*+')
_QUOTE, _BACKSLASH, _COMMA, _COLON = b'"\\,:'
_OPENING, _CLOSING = b"[{", b"]}"
_ARRAY, _ARRAY_END = b"[]"
_BLANK = b" \t\r\n"
_LONGEST_NAME = len(FIELD) * len(r"\u0072") + 2
_TOP, _ELEMENTS = 1, 2  # depths: of the body's own fields, and of the elements of the array


class Piece(NamedTuple):
    """A request, or a part of a long one: its place in the array, and whether it ends with that."""

    number: int
    text: bytes
    ends: bool


class RequestArray:
    """One body being split. Feed its chunks in order, then ask for the `frame`."""

    def __init__(self, *, frame_bytes: int, too_large: Callable[[], Exception]) -> None:
        """`too_large` makes what is raised once the frame is longer than `frame_bytes`."""
        self.count = 0
        """Requests that have ended."""
        self.has_begun = False
        self._frame = bytearray()
        self._before = b""
        self._frame_bytes = frame_bytes
        self._too_large = too_large
        self._depth = 0
        self._in_string = False
        self._is_escaped = False
        self._in_array = False
        self._held = b""
        self._is_long = False
        self._name_from: int | None = None
        self._name = b""
        self._is_named = False
        self._pieces: list[Piece] = []

    def feed(self, chunk: bytes) -> list[Piece]:
        """Take the next bytes; return what of requests they complete."""
        self._pieces = []
        at = start = 0
        while at < len(chunk):
            if self._in_string:
                at, has_ended = self._skip_string(chunk, at)
                if has_ended and self._depth == _TOP:
                    start = self._end_name(chunk, start, at)
                continue
            is_deep = self._depth > _ELEMENTS
            found = _DEEP_MARKS.match(chunk, at) if is_deep else _MARKS.match(chunk, at)
            assert found is not None, "the pattern matches nothing, too"
            at = found.end()
            if at < len(chunk):
                at, start = self._take_mark(chunk, at, start)
        self._keep(chunk[start:])
        return self._pieces

    def frame(self) -> bytes:
        """Return the body so far without its requests."""
        return bytes(self._frame)

    def frame_before(self) -> bytes:
        """Return the fields before the array, closed as if it were the last one."""
        return self._before + b"]}"

    def _skip_string(self, chunk: bytes, at: int) -> tuple[int, bool]:
        """Go to the end of the string, or of the chunk; return the place, and whether the string ended."""
        if self._is_escaped:
            self._is_escaped = False
            at += 1
        found = _STRING.match(chunk, at)
        assert found is not None, "the pattern matches nothing, too"
        begin, at = at, found.end()
        if self._in_array and _has_break(chunk, begin, at):
            # Breaks between tokens become spaces: one in a string would be changed, not refused.
            raise self._broken("JSON is malformed: a string holds a line break")
        if at == len(chunk):
            return at, False
        # A backslash that ends the match is the chunk's last byte: the next chunk goes on behind it.
        self._is_escaped = chunk[at] == _BACKSLASH
        self._in_string = self._is_escaped
        return at + 1, not self._in_string

    def _take_mark(self, chunk: bytes, at: int, start: int) -> tuple[int, int]:
        """Step over one mark; return the place behind it, and where what is not kept yet begins."""
        mark = chunk[at]
        behind = at + 1
        if mark == _QUOTE:
            self._in_string = True
            if self._depth == _TOP:
                self._keep(chunk[start:at])
                self._name_from = len(self._frame)
                start = at
        elif self._in_array and self._depth == _ELEMENTS and mark not in _OPENING:
            start = self._end_element(chunk[start:at], mark, start, behind)
        elif mark in _OPENING:
            start = self._open(chunk, mark, start, behind)
        elif mark in _CLOSING:
            self._depth -= 1
        elif self._depth == _TOP:
            self._is_named = mark == _COLON and self._names_requests()
        return behind, start

    def _end_name(self, chunk: bytes, start: int, end: int) -> int:
        """Remember a string among the body's own fields: it may be the name of one."""
        self._keep(chunk[start:end])
        self._name = bytes(self._frame[self._name_from :])
        return end

    def _names_requests(self) -> bool:
        if not _is_name(self._name, FIELD):
            return False
        if self.has_begun:
            raise Invalid(f"The field '{FIELD}' is there twice. Send it once.", param=FIELD)
        return True

    def _open(self, chunk: bytes, mark: int, start: int, behind: int) -> int:
        begins = mark == _ARRAY and self._depth == _TOP and self._is_named
        self._depth += 1
        if not begins:
            return start
        self._keep(chunk[start:behind])
        self._before = bytes(self._frame)
        self._in_array = self.has_begun = True
        return behind

    def _end_element(self, rest: bytes, mark: int, start: int, behind: int) -> int:
        """End a request at a comma, and the last one at the end of the array."""
        if mark == _COLON:
            return start  # of no object: the request is refused for it
        if mark not in (_COMMA, _ARRAY_END):
            raise self._broken("it ends with a bracket that was not opened")
        whole = self._held + rest
        if self._is_long or whole.strip(_BLANK):
            self._pieces.append(Piece(self.count, whole, ends=True))
            self.count += 1
        elif mark == _COMMA or self.count:
            raise self._broken("there is nothing between two commas, or behind the last one")
        self._held, self._is_long = b"", False
        if mark == _ARRAY_END:
            self._in_array = False
            self._depth = _TOP
            return behind - 1
        return behind

    def _broken(self, why: str) -> Invalid:
        return invalid_request(self.count, why)

    def _keep(self, rest: bytes) -> None:
        """Keep what belongs to the frame, or to a request that goes on with the next chunk."""
        if not self._in_array:
            self._frame += rest
            if len(self._frame) > self._frame_bytes:
                raise self._too_large()
            return
        self._held += rest if self._held or self._is_long else rest.lstrip(_BLANK)
        if len(self._held) > SHORT_BYTES:
            self._pieces.append(Piece(self.count, self._held, ends=False))
            self._held, self._is_long = b"", True


def _has_break(chunk: bytes, start: int, end: int) -> bool:
    return chunk.find(b"\n", start, end) >= 0 or chunk.find(b"\r", start, end) >= 0


def _is_name(raw: bytes, name: str) -> bool:
    """Whether a JSON string is this name, however its letters are written."""
    if len(raw) > _LONGEST_NAME:
        return False
    try:
        return msgspec.json.decode(raw, type=str) == name
    except msgspec.DecodeError:
        return False


def invalid_request(number: int, why: str) -> Invalid:
    """Refuse the request at this place of the array."""
    where = f"{FIELD}[{number}]"
    return Invalid(f"Invalid '{where}': {why}.", param=where, code="invalid_type")
