"""What reading from segments and from files shares: the window of lines, and pieces of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PIECE_BYTES = 1 << 16
"""Read at a time: a client that takes nothing keeps two or three of them in memory."""

Range = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """The lines numbered `after + 1 .. last`, by when they finished."""

    after: int
    last: int


def pieces(ranges: Iterable[Range], *, piece_bytes: int = PIECE_BYTES) -> Iterator[list[Range]]:
    """Group byte ranges (key, offset, length) into pieces of about so many bytes, in their order."""
    piece: list[Range] = []
    size_bytes = 0
    for item in ranges:
        if piece and size_bytes + item[2] > piece_bytes:
            yield piece
            piece, size_bytes = [], 0
        piece.append(item)
        size_bytes += item[2]
    if piece:
        yield piece
