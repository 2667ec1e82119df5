"""The JSON body of a create, as it comes: its requests become the lines of an input file. Pure.

Each request is one line, its own line breaks as spaces. It gets what is known when the array
begins; what could not be filled in then (of a long request, or for a model behind the array) is left to a
second pass over the lines.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from batchline.api import parameters
from batchline.api.parameters import JsonObject
from batchline.errors import Invalid

from .inherited_fields import REFUSED, Inheritance, Known, known_of
from .request_array import FIELD, Piece, RequestArray, invalid_request

_SPACES_FOR_BREAKS = bytes.maketrans(b"\r\n", b"  ")


class InlineRequests:
    """One body being read: feed its chunks, which returns lines, then ask for its `fields`."""

    def __init__(self, *, frame_bytes: int, too_large: Callable[[], Exception]) -> None:
        """`too_large` makes what is raised once the body without its requests is longer."""
        self._array = RequestArray(frame_bytes=frame_bytes, too_large=too_large)
        self._inheritance: Inheritance | None = None
        self._in_long = False
        self._had_long = False

    @property
    def are_there(self) -> bool:
        """Whether the body holds an array of requests, as far as it was read."""
        return self._array.has_begun

    @property
    def frame(self) -> bytes:
        """The body so far, with an empty array of requests."""
        return self._array.frame()

    def feed(self, chunk: bytes) -> bytes:
        """Return the lines that `chunk` completes, and parts of a long one. Raises Invalid, `too_large`."""
        pieces = self._array.feed(chunk)
        if not pieces:
            return b""
        if self._inheritance is None:
            self._inheritance = Inheritance(_known_before(self._array.frame_before()))
        return b"".join([self._written(piece, self._inheritance) for piece in pieces])

    def fields(self) -> JsonObject:
        """Return the fields of the whole body, the requests left out. Raises Invalid."""
        fields = parameters.json_object(self.frame)
        if self.are_there:
            if self._inheritance is None:
                raise Invalid(f"Invalid '{FIELD}': there is none. Send at least one.", param=FIELD)
            del fields[FIELD]
        return fields

    def first_url(self) -> str | None:
        """Return the url of the first request, where it is an endpoint."""
        return self._inheritance.first_url if self._inheritance else None

    def needs_second_pass(self, known: Known) -> bool:
        """Whether a line was left without something that is known by now."""
        return self._inheritance is not None and (self._had_long or self._inheritance.needs(known))

    def _written(self, piece: Piece, inheritance: Inheritance) -> bytes:
        if piece.ends and not self._in_long:
            return filled(piece.number, piece.text, inheritance) + b"\n"
        self._in_long = not piece.ends
        self._had_long = True
        text = piece.text.translate(_SPACES_FOR_BREAKS)
        return text + b"\n" if piece.ends else text


def filled(number: int, text: bytes, inheritance: Inheritance) -> bytes:
    """Return the request at this place as a line without its newline. Raises Invalid."""
    try:
        line = inheritance.fill(text)
    except REFUSED as exc:
        why = "it is nested too deeply" if isinstance(exc, RecursionError) else f"it is none: {exc}"
        raise invalid_request(number, f"expected an object, but {why}") from exc
    return line.strip().translate(_SPACES_FOR_BREAKS)


def _known_before(frame: bytes) -> Known:
    try:
        fields = msgspec.json.decode(frame, type=dict)
    except REFUSED:
        return Known()  # the whole body is refused at its end
    return known_of(fields)
