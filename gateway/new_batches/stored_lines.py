"""A second pass over the lines of a stored input, which fills in what they lack. Pure: chunks in, chunks out.

Memory is one chunk and one line; what is longer than a line may be is left as it is, for the check of lines
to refuse.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .inherited_fields import REFUSED, Inheritance
from .inline import filled

Fill = Callable[[int, bytes], bytes]
"""Returns the line of that number (from 0), without a newline, as it shall be. Raises Invalid."""

_BOM = b"\xef\xbb\xbf"


def requests_of_json(inheritance: Inheritance) -> Fill:
    """Fill the requests of a JSON body, which refuses what is no object."""
    return partial(filled, inheritance=inheritance)


def lines_of_file(inheritance: Inheritance) -> Fill:
    """Fill the lines of a file; what is no object is left to the check of lines."""

    def fill(number: int, line: bytes) -> bytes:
        text = line if number else line.removeprefix(_BOM)
        try:
            done = inheritance.fill(text)
        except REFUSED:
            return line
        return line if done is text else done

    return fill


class StoredLines:
    """One input being filled: feed its chunks in order, then `finish`."""

    def __init__(self, fill: Fill, *, line_bytes: int) -> None:
        self._fill = fill
        self._line_bytes = line_bytes
        self._tail = b""
        self._in_long = False
        self._number = 0

    def feed(self, chunk: bytes) -> bytes:
        """Return the lines that `chunk` completes, and parts of one that is too long. Raises Invalid."""
        *lines, tail = (self._tail + chunk).split(b"\n")
        done = [self._line(line) + b"\n" for line in lines]
        self._tail = tail
        if len(tail) > self._line_bytes:
            done.append(tail)
            self._tail, self._in_long = b"", True
        return b"".join(done)

    def finish(self) -> bytes:
        """Return the last line, if it had no newline. Raises Invalid."""
        return self._line(self._tail)

    def _line(self, line: bytes) -> bytes:
        """Fill the next line, or end one of which parts were passed on."""
        number, self._number = self._number, self._number + 1
        if self._in_long or len(line) > self._line_bytes or not line.strip():
            self._in_long = False
            return line
        return self._fill(number, line)
