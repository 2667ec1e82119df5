"""Unpacks a compressed input file as a stream, to check its first line before it is sent."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from batchline.jsonl.compression import Coding, Unpacker

if TYPE_CHECKING:
    from typing_extensions import Buffer

_CHUNK_BYTES = 1 << 16


class Unpacked(io.RawIOBase):
    """Reads `stream` and gives what it unpacks to. Raises Invalid where it is broken."""

    def __init__(self, stream: BinaryIO, coding: Coding, *, name: str) -> None:
        self._pieces = _pieces(stream, Unpacker(coding, what=name))
        self._rest = b""

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill `buffer` from the next piece; return 0 at the end."""
        view = memoryview(buffer)
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        part, self._rest = self._rest[: len(view)], self._rest[len(view) :]
        view[: len(part)] = part
        return len(part)


def _pieces(stream: BinaryIO, unpacker: Unpacker) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK_BYTES):
        yield from unpacker.feed(chunk)
    unpacker.finish()
