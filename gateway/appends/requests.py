"""Splits the body of an append into requests: one a line, or the array `requests` of a JSON object. Pure.

Feed the chunks in order, then `finish`. Memory is that of one request, no longer than a line may be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from batchline.api import parameters
from batchline.errors import Invalid
from batchline.jsonl.line_check import too_long
from batchline.model import Fault
from gateway.new_batches.request_array import FIELD, RequestArray

_BOM = b"\xef\xbb\xbf"
_SPACES_FOR_BREAKS = bytes.maketrans(b"\r\n", b"  ")
_HOW = (
    f"Missing required parameter: '{FIELD}'. Send {{\"{FIELD}\": […]}}, or one request a line with the "
    "header 'Content-Type: application/x-ndjson'."
)


class Where(NamedTuple):
    """The place of a request in the body, in words, and how a parameter of it is named."""

    text: str
    prefix: str

    def refuse(self, fault: Fault) -> Invalid:
        """Return the error that refuses the whole append for this request."""
        param = ".".join(filter(None, (self.prefix, fault.param))) or None
        return Invalid(f"{self.text}: {fault.message}", param=param, code=fault.code)


class Found(NamedTuple):
    """One request: its text is a single line."""

    where: Where
    text: bytes


class Requests(Protocol):
    """A body being split. Both methods raise Invalid."""

    def feed(self, chunk: bytes) -> Iterator[Found]:
        """Yield the requests that the chunk completes."""

    def finish(self) -> Iterator[Found]:
        """Yield what is left at the end of the body."""


class _Parts:
    """A request that came in parts, joined once."""

    def __init__(self, *, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._parts: list[bytes] = []
        self._size_bytes = 0

    def add(self, part: bytes, where: Where) -> None:
        """Keep a part. Raises Invalid."""
        self._size_bytes += len(part)
        if self._size_bytes > self._most_bytes:
            raise where.refuse(too_long(self._most_bytes))
        self._parts.append(part)

    def take(self) -> bytes:
        """Return the whole request, and begin another one."""
        whole = b"".join(self._parts)
        self._parts, self._size_bytes = [], 0
        return whole


class RequestLines:
    """One request a line; blank lines are skipped, but counted."""

    def __init__(self, *, line_bytes: int) -> None:
        self._held = _Parts(most_bytes=line_bytes)
        self._number = 0

    def feed(self, chunk: bytes) -> Iterator[Found]:
        """Yield the lines that the chunk completes."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            yield from self._line(end)
        self._held.add(rest, self._where(self._number + 1))

    def finish(self) -> Iterator[Found]:
        """Yield a last line without a newline."""
        yield from self._line(b"")

    def _line(self, end: bytes) -> Iterator[Found]:
        self._number += 1
        where = self._where(self._number)
        self._held.add(end, where)
        text = self._held.take()
        text = (text.removeprefix(_BOM) if self._number == 1 else text).strip()
        if text:
            yield Found(where, text)

    def _where(self, number: int) -> Where:
        return Where(f"Line {number}", "")


class JsonRequests:
    """The elements of the array; other fields of the object are ignored."""

    def __init__(
        self, *, line_bytes: int, frame_bytes: int, too_large: Callable[[], Exception]
    ) -> None:
        """`too_large` makes what is raised once the body without its requests is longer."""
        self._array = RequestArray(frame_bytes=frame_bytes, too_large=too_large)
        self._held = _Parts(most_bytes=line_bytes)

    def feed(self, chunk: bytes) -> Iterator[Found]:
        """Yield the elements that the chunk completes."""
        for piece in self._array.feed(chunk):
            place = f"{FIELD}[{piece.number}]"
            where = Where(f"Invalid '{place}'", place)
            self._held.add(piece.text, where)
            if piece.ends:
                yield Found(where, self._held.take().translate(_SPACES_FOR_BREAKS).strip())

    def finish(self) -> Iterator[Found]:
        """Check what lies around the array."""
        fields = parameters.json_object(self._array.frame())
        if FIELD not in fields:
            raise Invalid(_HOW, param=FIELD, code="missing_required_parameter")
        if not self._array.has_begun:
            raise parameters.wrong_type(FIELD, "an array", fields[FIELD])
        yield from ()
