"""Blobs on the local disk: whole files by rename, segments by append and fdatasync.

Segments of one process go to files of its own (nobody else appends there); a torn tail left by a crash
has no row and so does not exist. Each segment ends with its own index and checksum:

    record … record | (line u32, length u32) × count | count u32, crc32 of records and index u32, magic
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import struct
import threading
import zlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from batchline.errors import NotFound, StoreUnavailable
from batchline.model import SegmentRef
from batchline.process.disk_errors import disk_refusal
from batchline.process.failpoints import crash_if_torn, failpoint, written

from .folders import abandoned, create_claimed, drop_abandoned, move, remove, sync, walk
from .reading import read_on, read_whole

_ENTRY = struct.Struct("<II")
_FOOTER = struct.Struct("<II4s")
_MAGIC = b"BLS1"
_BUFFER_BYTES = 1 << 20
_OPEN_AT_ONCE = 16  # what was appended to a batch lies in as many files as there were appends
_ROTATE_BYTES = 256 << 20  # small enough that one batch's files are deleted piecemeal


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        raise NotFound(f"There are no bytes under {key}.") from exc
    except OSError as exc:
        raise disk_refusal(exc, what=key) from exc


class LocalWriter:
    """A temporary file that `commit` renames into place."""

    def __init__(self, target: Path, temporary: Path, key: str) -> None:
        self._target = target
        self._temporary = temporary
        self._key = key
        self._file: BinaryIO | None = None
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Bytes written so far."""
        return self._size_bytes

    async def write(self, chunk: bytes) -> None:
        """Append bytes; they reach the disk in large pieces."""
        self._pending.append(chunk)
        self._pending_bytes += len(chunk)
        self._size_bytes += len(chunk)
        if self._pending_bytes >= _BUFFER_BYTES:
            await asyncio.to_thread(self._flush)

    async def commit(self) -> None:
        """Sync and rename."""
        await asyncio.to_thread(self._commit)

    async def abort(self) -> None:
        """Remove the temporary file, if there can be one."""
        if self._size_bytes:
            await asyncio.to_thread(self._abort)

    def _flush(self) -> None:
        with _translated(self._key):
            if self._file is None:
                self._file = create_claimed(self._temporary)
            for chunk in self._pending:
                _write_all(self._file, chunk)
        self._pending, self._pending_bytes = [], 0

    def _commit(self) -> None:
        self._flush()
        with _translated(self._key):
            assert self._file is not None, "a flush opens the file"
            os.fsync(self._file.fileno())
            failpoint("blob.written")
            move(self._temporary, self._target)
            self._file.close()  # not sooner: the lock on the open file tells its owner
            sync(self._target.parent)
            failpoint("blob.renamed")

    def _abort(self) -> None:
        with suppress(
            OSError
        ):  # not there, or the disk has failed: swept after this process has ended
            self._temporary.unlink()
        if self._file is not None:
            self._file.close()


class LocalBlobs:
    """The blob store under one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incarnation = secrets.token_hex(6)
        self._segments: dict[str, _SegmentFile] = {}
        self._segments_lock = threading.Lock()  # appending against deleting the folder

    def close(self) -> None:
        """Close the segments that were open to be appended to."""
        with self._segments_lock:
            for file in self._segments.values():
                file.close()
            self._segments.clear()

    def create(self, key: str) -> LocalWriter:
        """Start writing the blob `key`."""
        temporary = self._root / "tmp" / f"{self._incarnation}-{secrets.token_hex(6)}"
        return LocalWriter(self._path(key), temporary, key)

    async def size(self, key: str) -> int | None:
        """Return its size in bytes, or None."""
        try:
            with _translated(key):
                return (await asyncio.to_thread(self._path(key).stat)).st_size
        except NotFound:
            return None

    async def read(self, key: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return one range."""
        return await asyncio.to_thread(self._read, key, offset, length)

    async def read_many(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """Return several ranges at the price of one thread hop."""
        return await asyncio.to_thread(self._read_many, ranges)

    async def stream(
        self, key: str, *, offset: int = 0, length: int | None = None, chunk_bytes: int = 1 << 20
    ) -> AsyncGenerator[bytes, None]:
        """Yield the range in chunks."""
        left = length
        file: BinaryIO | None = None
        with _translated(key):
            try:
                while left is None or left > 0:
                    wanted = chunk_bytes if left is None else min(chunk_bytes, left)
                    if file is None:
                        file, chunk = await asyncio.to_thread(self._open_at, key, offset, wanted)
                    else:
                        chunk = await read_on(file, wanted)
                    left = None if left is None else left - len(chunk)
                    if chunk:
                        yield chunk
                    if len(chunk) < wanted:
                        return
            finally:
                if file is not None:
                    file.close()

    async def put_segment(self, prefix: str, records: Sequence[tuple[int, bytes]]) -> SegmentRef:
        """Append to this process's own file under `prefix` and sync."""
        return await asyncio.to_thread(self._put_segment, prefix, records)

    async def read_segment_index(self, ref: SegmentRef) -> list[tuple[int, int, int]]:
        """Return (line, absolute offset, length) of each record, checksum verified."""
        return await asyncio.to_thread(self._read_segment_index, ref)

    async def delete(self, key: str) -> None:
        """Delete one blob, or all below a trailing slash."""
        await asyncio.to_thread(self._delete, key)

    async def keys(self, prefix: str, *, at_once: int = 500) -> AsyncGenerator[list[str], None]:
        """Yield the keys below `prefix` in pieces, reading the folders as it goes."""
        found = walk(self._path(prefix))
        skip = len(str(self._root)) + 1
        while piece := await asyncio.to_thread(_next_keys, found, at_once, skip):
            yield piece

    async def abandoned(self) -> tuple[int, int]:
        """Count the temporary files of processes that died."""
        return await asyncio.to_thread(self._abandoned)

    async def drop_abandoned(self, *, at_most: int) -> tuple[int, int]:
        """Delete temporary files of processes that died."""
        return await asyncio.to_thread(self._drop_abandoned, at_most)

    def free_bytes(self) -> int:
        """Return the space left on the file system."""
        return shutil.disk_usage(self._root).free

    def _path(self, key: str) -> Path:
        assert ".." not in key.split("/"), key
        assert not key.startswith("/"), key
        return self._root / key

    def _open_at(self, key: str, offset: int, wanted: int) -> tuple[BinaryIO, bytes]:
        """Open a blob and read its first bytes: small ones cost one thread hop."""
        file: BinaryIO = self._path(key).open("rb", buffering=0)
        try:
            file.seek(offset)
            return file, read_whole(file, wanted)
        except BaseException:
            file.close()
            raise

    def _read(self, key: str, offset: int, length: int | None) -> bytes:
        with _translated(key), self._path(key).open("rb", buffering=0) as file:
            file.seek(offset)
            if length is None:
                return file.readall()
            return read_whole(file, length)

    def _read_many(self, ranges: Sequence[tuple[str, int, int]]) -> list[bytes]:
        found: list[bytes] = []
        with ExitStack() as stack:
            files: dict[str, BinaryIO] = {}
            for key, offset, length in ranges:
                with _translated(key):
                    if key not in files:
                        if len(files) == _OPEN_AT_ONCE:
                            files.pop(next(iter(files))).close()
                        files[key] = stack.enter_context(self._path(key).open("rb", buffering=0))
                    files[key].seek(offset)
                    found.append(read_whole(files[key], length))
        return found

    def _put_segment(self, prefix: str, records: Sequence[tuple[int, bytes]]) -> SegmentRef:
        index = b"".join(_ENTRY.pack(line, len(record)) for line, record in records)
        checksum = 0
        for _, record in records:
            checksum = zlib.crc32(record, checksum)
        footer = _FOOTER.pack(len(records), zlib.crc32(index, checksum), _MAGIC)
        data = b"".join((*(record for _, record in records), index, footer))
        with _translated(prefix), self._segments_lock:
            file = self._segment_file(prefix)
            offset = file.append(data)
        return SegmentRef(file.key, offset, len(data))

    def _segment_file(self, prefix: str) -> _SegmentFile:
        file = self._segments.get(prefix)
        if file is None or not file.is_usable():
            if file is not None:
                file.close()
            key = f"{prefix}{self._incarnation}-{secrets.token_hex(4)}.seg"
            file = self._segments[prefix] = _SegmentFile(key, self._path(key))
        return file

    def _read_segment_index(self, ref: SegmentRef) -> list[tuple[int, int, int]]:
        with _translated(ref.key), self._path(ref.key).open("rb", buffering=0) as file:
            index = _checked_index(file, ref)
        found, at = [], ref.offset_bytes
        for line, length in _ENTRY.iter_unpack(index):
            found.append((line, at, length))
            at += length
        return found

    def _delete(self, key: str) -> None:
        with suppress(FileNotFoundError), _translated(key):
            if not key.endswith("/"):
                remove(self._path(key))
                return
            with self._segments_lock:
                file = self._segments.pop(key, None)
                if file is not None:
                    file.close()
                if self._path(key).is_dir():
                    shutil.rmtree(self._path(key))

    def _abandoned(self) -> tuple[int, int]:
        with _translated("tmp/"):
            sizes = list(abandoned(self._root / "tmp"))
        return len(sizes), sum(sizes)

    def _drop_abandoned(self, at_most: int) -> tuple[int, int]:
        with _translated("tmp/"):
            return drop_abandoned(self._root / "tmp", at_most=at_most)


def _checked_index(file: BinaryIO, ref: SegmentRef) -> bytes:
    """Return a segment's index if its checksum is right; holds a piece in memory at a time."""
    name = f"Segment {ref.key}@{ref.offset_bytes}"
    end = ref.offset_bytes + ref.length_bytes - _FOOTER.size
    file.seek(max(end, 0))
    footer = read_whole(file, _FOOTER.size)
    if end < ref.offset_bytes or len(footer) < _FOOTER.size:
        raise StoreUnavailable(f"{name} is cut short.")
    count, checksum, magic = _FOOTER.unpack(footer)
    left = end - count * _ENTRY.size - ref.offset_bytes
    found = 0
    file.seek(ref.offset_bytes)
    while left > 0 and (piece := file.read(min(left, _BUFFER_BYTES))):
        found = zlib.crc32(piece, found)
        left -= len(piece)
    index = read_whole(file, count * _ENTRY.size) if left == 0 else b""
    if magic != _MAGIC or zlib.crc32(index, found) != checksum:
        raise StoreUnavailable(f"{name} fails its checksum.")
    return index


class _SegmentFile:
    """An append-only file of this process. A failed append is cut off; if that fails, it takes no other."""

    def __init__(self, key: str, path: Path) -> None:
        self.key = key
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("xb", buffering=0)
        self._size_bytes = 0
        self._failed = False
        try:
            sync(path.parent)
        except BaseException:
            self._file.close()
            path.unlink()
            raise

    def is_usable(self) -> bool:
        return not self._failed and self._size_bytes < _ROTATE_BYTES

    def append(self, data: bytes) -> int:
        offset = self._size_bytes
        try:
            part = written("segment.append", data)
            _write_all(self._file, part)
            crash_if_torn(part, data)
            failpoint("segment.appended")
            os.fdatasync(self._file.fileno())
        except BaseException:
            self._failed = (
                True  # until the append is cut off: the bytes after a torn write are unknown
            )
            self._take_back(offset)
            raise
        self._size_bytes += len(data)
        return offset

    def _take_back(self, offset: int) -> None:
        """Cut off what a full disk left of an append, so that a repeated one needs no more space."""
        with suppress(OSError):
            os.ftruncate(self._file.fileno(), offset)
            self._file.seek(offset)
            os.fdatasync(self._file.fileno())
            self._failed = False

    def close(self) -> None:
        self._file.close()


def _next_keys(found: Iterator[str], at_once: int, skip: int) -> list[str]:
    with _translated("the blobs"):
        return [path[skip:] for path in islice(found, at_once)]


def _write_all(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def open_blobs(root: Path) -> LocalBlobs:
    """Open the blob store under `root`, making the folder if needed.

    Raises StoreUnavailable if it cannot be made.
    """
    with _translated(str(root)):
        root.mkdir(parents=True, exist_ok=True)
    return LocalBlobs(root)
