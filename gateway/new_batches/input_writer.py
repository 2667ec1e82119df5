"""Writes the input that comes with a batch, and digests it, so that equal creates can be told."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from batchline.blobs.keys import file_key
from batchline.model import new_file_id
from gateway.transfer.file_sink import FileSink, file_sink


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
    """One input being written."""

    def __init__(self, sink: FileSink, file_id: str) -> None:
        self.sink = sink
        self._file_id = file_id
        self._digest = hashlib.sha256()

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


@asynccontextmanager
async def new_input(request: web.Request) -> AsyncIterator[InputWriter]:
    """Begin a new input; it is deleted at the end unless `commit` was reached."""
    async with written_again(request, new_file_id()) as writer:
        yield writer


@asynccontextmanager
async def written_again(request: web.Request, file_id: str) -> AsyncIterator[InputWriter]:
    """Begin to write an input that may exist: `commit` replaces it."""
    async with file_sink(request, file_id) as sink:
        yield InputWriter(sink, file_id)
