"""Writes the input that comes with a batch, and digests it, so that equal creates can be told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web

from batchline.blobs.keys import file_key
from gateway.keys import BLOBS, SETTINGS
from gateway.transfer.disk_space import disk_space_of
from gateway.transfer.file_sink import FileSink


@dataclass(frozen=True, slots=True)
class NewInput:
    """The bytes that came with a batch: durable under `key`, and without a row yet."""

    file_id: str
    filename: str
    bytes: int
    digest: str

    @property
    def key(self) -> str:
        """Where its bytes are."""
        return file_key(self.file_id)


class InputWriter:
    """One input being written; the context deletes it unless `commit` was reached."""

    def __init__(self, request: web.Request, file_id: str) -> None:
        self.sink = FileSink(
            request.app[BLOBS].create(file_key(file_id)),
            max_bytes=request.app[SETTINGS].max_file_bytes,
            disk_space=disk_space_of(request),
            noun="File",
        )
        self._file_id = file_id
        self._digest = hashlib.sha256()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.sink.__aexit__(kind, exc, trace)

    async def put(self, lines: bytes) -> None:
        """Store lines, or a part of a long one. Raises TooLarge, DiskFull."""
        self._digest.update(lines)
        await self.sink.put(lines)

    async def commit(self) -> None:
        """Make the bytes durable."""
        await self.sink.commit()

    def made(self, filename: str) -> NewInput:
        """Return what was written."""
        return NewInput(self._file_id, filename, self.sink.size_bytes, self._digest.hexdigest())
