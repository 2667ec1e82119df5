"""Writes the bytes of one file into a blob: unpacks, counts and bounds them, in constant memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from aiohttp import web

from batchline.blobs.base import BlobWriter
from batchline.blobs.keys import file_key
from batchline.errors import TooLarge
from batchline.jsonl.compression import Coding, Unpacker
from batchline.jsonl.encodings import HEAD_BYTES
from gateway.keys import BLOBS, SETTINGS

from .body import unpack
from .disk_space import DiskSpace, disk_space_of

_ROOM_STEP_BYTES = 16 << 20  # how often the free space is looked at while bytes come in
_BLANK = b" \t\r\n\v\f\xef\xbb\xbf"  # the last three bytes are a BOM


class FileSink:
    """A file being written; the context deletes it unless `commit` was reached.

    `noun` is its name in errors. The limit counts unpacked bytes.
    """

    def __init__(
        self, writer: BlobWriter, *, max_bytes: int, disk_space: DiskSpace, noun: str
    ) -> None:
        self.noun = noun
        self.max_bytes = max_bytes
        self.is_blank = True
        self.head = b""
        """The first bytes that were stored."""
        self._writer = writer
        self._disk_space = disk_space
        self._room_checked_at = 0
        self._unpacker: Unpacker | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._writer.abort()  # harmless after a commit

    @property
    def size_bytes(self) -> int:
        """Bytes stored so far."""
        return self._writer.size_bytes

    def unpack_as(self, coding: Coding | None) -> None:
        """Set the compression of the following bytes."""
        self._unpacker = Unpacker(coding, what=f"the {self.noun.lower()}") if coding else None

    async def put(self, chunk: bytes) -> None:
        """Store one chunk as it was sent. Raises TooLarge, DiskFull, Invalid."""
        if self._unpacker is None:
            await self._store(chunk)
            return
        async for piece in unpack(self._unpacker, chunk):
            await self._store(piece)

    def finish(self) -> None:
        """Check that compressed bytes are complete. Raises Invalid."""
        if self._unpacker is not None:
            self._unpacker.finish()

    async def commit(self) -> None:
        """Make the bytes durable under their key."""
        await self._writer.commit()

    def too_large(self) -> TooLarge:
        """Return the error for too many bytes."""
        return TooLarge(
            f"{self.noun} is too large. The limit is {self.max_bytes} bytes, counted after "
            "decompression."
        )

    async def _store(self, piece: bytes) -> None:
        size = self._writer.size_bytes + len(piece)
        if size > self.max_bytes:
            raise self.too_large()
        if size - self._room_checked_at >= _ROOM_STEP_BYTES:
            self._disk_space.need(len(piece))
            self._room_checked_at = size
        self.is_blank = self.is_blank and not piece.strip(_BLANK)
        self.head += piece[: HEAD_BYTES - len(self.head)]
        await self._writer.write(piece)


def file_sink(request: web.Request, file_id: str) -> FileSink:
    """Begin a new file, no larger than one may be."""
    return FileSink(
        request.app[BLOBS].create(file_key(file_id)),
        max_bytes=request.app[SETTINGS].max_file_bytes,
        disk_space=disk_space_of(request),
        noun="File",
    )


async def pour(chunks: AsyncIterator[bytes], sink: FileSink) -> None:
    """Put all chunks of a stream and finish."""
    async for chunk in chunks:
        await sink.put(chunk)
    sink.finish()
