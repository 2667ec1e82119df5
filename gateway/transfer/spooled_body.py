"""Holds a request's body until it is complete: a short one in memory, a long one in a file without a name.

The bodies of many clients at once do not fit into memory. A body that is held can be refused for what its end
contains, since nothing of it has been sent on.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ParamSpec, Self, TypeVar

from batchline.process.disk_errors import disk_refusal

from .disk_space import DiskSpace

P = ParamSpec("P")
T = TypeVar("T")

SHORT_BYTES = 1 << 16
_PIECE_BYTES = 1 << 18


class HeldBody:
    """Add what arrives, then look at all of it, then send it on in pieces. The context closes the file."""

    def __init__(self, folder: Path, *, disk_space: DiskSpace) -> None:
        """`folder`: where the file of a long body is; it has no name, and is gone when this process ends."""
        self._folder = folder
        self._disk_space = disk_space
        self._short = bytearray()
        self._file: IO[bytes] | None = None
        self._at_work: asyncio.Task[Any] | None = None
        self.size_bytes = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._at_work is not None:
            # A thread that still writes could otherwise write to another file that got the same descriptor.
            await asyncio.gather(self._at_work, return_exceptions=True)
        if self._file is not None:
            self._file.close()

    async def add(self, chunk: bytes) -> None:
        """Take the next bytes. Raises DiskFull, StoreUnavailable."""
        self.size_bytes += len(chunk)
        if self.size_bytes <= SHORT_BYTES:
            self._short += chunk
            return
        self._disk_space.need(len(chunk))
        await self._in_thread(self._write, chunk)

    async def look(self, read: Callable[[bytes | mmap.mmap], T]) -> T:
        """Return the result of `read` on the whole body, of which it must keep no part."""
        if self._file is None:
            return read(bytes(self._short))
        return await self._in_thread(self._look, self._file, read)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body from its start."""
        if self._file is None:
            yield bytes(self._short)
            return
        at = 0
        while piece := await self._in_thread(os.pread, self._file.fileno(), _PIECE_BYTES, at):
            at += len(piece)
            yield piece

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._at_work = asyncio.create_task(asyncio.to_thread(work, *args, **kwargs))
        return await asyncio.shield(self._at_work)

    def _write(self, chunk: bytes) -> None:
        with _translated():
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
                _write_all(self._file, self._short)
                self._short.clear()
            _write_all(self._file, chunk)

    def _look(self, file: IO[bytes], read: Callable[[bytes | mmap.mmap], T]) -> T:
        with _translated(), mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            return read(whole)


def _write_all(file: IO[bytes], data: bytes | bytearray) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise disk_refusal(exc, what="the body of a request") from exc
