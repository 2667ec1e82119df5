"""The contract for bytes: whole files written once, and result segments. Rows live in `store`.

A key is relative ("files/ab/file-abc"), never a path of the host. Callers must not rely on append, rename,
modification times or listing order. All methods raise StoreUnavailable when the disk fails, DiskFull when it
is full.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from batchline.model import SegmentRef


class BlobWriter(Protocol):
    """A file being written. Nothing is visible under its key before `commit` returns."""

    @property
    def size_bytes(self) -> int:
        """Bytes written so far."""

    async def write(self, chunk: bytes) -> None:
        """Append bytes (buffered)."""

    async def commit(self) -> None:
        """Make it durable and visible under its key, atomically; replaces an older blob."""

    async def abort(self) -> None:
        """Drop what was written. Harmless after `commit`."""


class Blobs(Protocol):
    """Bytes by key."""

    def create(self, key: str) -> BlobWriter:
        """Start writing the blob `key`."""

    async def size(self, key: str) -> int | None:
        """Return its size in bytes, or None if there is none."""

    async def read(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return one range in memory. Raises NotFound."""

    async def read_many(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Return the (key, offset, length) ranges, in the order given. Raises NotFound."""

    def stream(
        self, key: str, *, offset: int = 0, length: int | None = None, chunk_bytes: int = 1 << 20
    ) -> AsyncGenerator[bytes, None]:
        """Yield the range in chunks. Raises NotFound on the first step."""

    async def put_segment(self, prefix: str, records: Sequence[tuple[int, bytes]]) -> SegmentRef:
        """Store (line index, record bytes) pairs durably; the name is the store's own choice."""

    async def read_segment_index(self, ref: SegmentRef) -> list[tuple[int, int, int]]:
        """Return (line index, absolute offset in `ref.key`, length) of each record.

        Raises StoreUnavailable if the segment fails its checksum.
        """

    async def delete(self, key: str) -> None:
        """Delete the blob, or with a trailing slash all below; harmless if absent."""

    def keys(self, prefix: str, *, at_once: int = 500) -> AsyncGenerator[list[str], None]:
        """Yield the keys of all blobs below `prefix` in pieces, in no order, in bounded memory.

        Blobs that are written or deleted meanwhile may be missing or not.
        """

    async def abandoned(self) -> tuple[int, int]:
        """Return how many blobs writers left that died before `commit` or `abort`, and their bytes."""

    async def drop_abandoned(self, *, at_most: int) -> tuple[int, int]:
        """Delete what writers that died before `commit` or `abort` left; return how many, how many bytes.

        Never touches a blob that a living process is writing, however long that takes.
        """

    def free_bytes(self) -> int:
        """Return the space left."""
