"""Where each line of a published batch lies, in the order in which the lines finished.

Written by the dispatcher beside the two result files, so that a client that follows a batch can continue
after its end where it was. Each line has an entry of fixed length: entry n is of the line numbered n + 1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import msgspec

_ENTRY = struct.Struct("<QII")
_IN_ERROR_FILE = 1 << 63

ENTRY_BYTES = _ENTRY.size


class Place(msgspec.Struct, frozen=True):
    """One published line: its index in the input, its file, its bytes there."""

    line: int
    in_error_file: bool
    offset: int
    length: int


def pack(places: Iterable[Place]) -> bytes:
    """Write the entries of consecutive numbers."""
    return b"".join(
        _ENTRY.pack(p.offset | (_IN_ERROR_FILE if p.in_error_file else 0), p.length, p.line)
        for p in places
    )


def unpack(data: bytes) -> Iterator[Place]:
    """Read the entries of consecutive numbers."""
    for offset, length, line in _ENTRY.iter_unpack(data):
        yield Place(line, bool(offset & _IN_ERROR_FILE), offset & ~_IN_ERROR_FILE, length)
