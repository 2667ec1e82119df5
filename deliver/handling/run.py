"""One attempt of a handler at a batch: its process is fed with results, heard, and its lease kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from batchline.errors import NotFound, StoreUnavailable
from batchline.results.joined import Joined

from .limited_process import LimitedProcess, running
from .messages import (
    Done,
    End,
    Failed,
    NoMessage,
    Piece,
    Progress,
    Start,
    ToProcess,
    framed,
    read_by_deliverer,
)
from .survey import Installed

log = logging.getLogger(__name__)

_KEEP_S = 1.0
_MOST_WAITS = 10  # the lease is renewed so many seconds after it was, at the latest
_END_S = 5.0
"""A handler that is done has so long to end its process."""

Pieces = AsyncIterator[Sequence[Joined]]
Keep = Callable[[int, bytes | None], Awaitable[bool]]
"""Note how many results are handled and what the handler keeps, and renew the lease; False: it is lost."""


@dataclass(frozen=True, slots=True)
class HandlerEnd:
    """How an attempt ended. `why`: what went wrong, None if the batch is handled."""

    lines_done: int
    checkpoint: bytes | None
    why: str | None = None
    is_final: bool = False
    """No later attempt can succeed."""
    has_died: bool = False
    """Its process ended, or was ended, without a word."""


class HandlerRun:
    """One attempt."""

    def __init__(self, installed: Installed, start: Start, pieces: Pieces, keep: Keep) -> None:
        self._installed = installed
        self._start = start
        self._pieces = pieces
        self._keep = keep
        self._progress = Progress(start.start, start.state or b"null")
        self._last: Done | Failed | None = None
        self._fault: HandlerEnd | None = None

    async def run(self, stop: asyncio.Event) -> HandlerEnd:
        """Attempt it until it ends, is ended, or `stop` is set."""
        shown = f"{self._start.batch.id} {self._installed.name}"
        async with running("run", shown) as program:
            hearing = asyncio.ensure_future(self._hear(program))
            tasks = [
                hearing,
                asyncio.ensure_future(self._feed(program)),
                asyncio.ensure_future(self._keep_lease(program)),
                asyncio.ensure_future(self._heed(program, stop)),
                asyncio.ensure_future(self._end_when_done(program, hearing)),
            ]
            try:
                why = await program.wait(self._installed.section.limits)
                await asyncio.wait([hearing])  # what it sent last is on its way
            finally:
                for task in tasks:
                    task.cancel()
                for fault in await asyncio.gather(*tasks, return_exceptions=True):
                    if isinstance(fault, Exception):
                        log.error("%s: an attempt broke", shown, exc_info=fault)
        return self._end(why)

    def _end(self, why: str | None) -> HandlerEnd:
        lines, kept = self._progress.lines, self._progress.state
        match self._last:
            case Done():
                return HandlerEnd(self._start.batch.total, None)
            case Failed(why=told, is_final=is_final):
                return HandlerEnd(lines, kept, told, is_final=is_final)
        if self._fault is not None:
            return self._fault
        return HandlerEnd(lines, kept, why or "it ended without a word", has_died=True)

    async def _feed(self, program: LimitedProcess) -> None:
        writer = program.writer
        try:
            _write(writer, self._start)
            async for piece in self._pieces:
                if self._last is not None:
                    break  # it wants no more
                _write(writer, Piece(piece))
                await writer.drain()
            else:
                _write(writer, End())
            _check_open(writer)
            writer.write_eof()  # until then it reads on: if it ended, its last word could be lost
        except ConnectionError:
            return  # it has ended
        except (NotFound, StoreUnavailable) as exc:
            self._cut(program, str(exc), is_final=isinstance(exc, NotFound))

    async def _hear(self, program: LimitedProcess) -> None:
        with suppress(ConnectionError):
            while self._last is None:
                try:
                    message = await read_by_deliverer(program.reader)
                except NoMessage:
                    program.end("it wrote what is no message to the deliverer")
                    return
                if message is None:
                    return
                if isinstance(message, Progress):
                    self._note(program, message)
                else:
                    self._last = message

    async def _end_when_done(self, program: LimitedProcess, hearing: asyncio.Future[None]) -> None:
        await asyncio.wait([hearing])
        await asyncio.sleep(_END_S)
        program.end("it did not end when it was done")

    def _note(self, program: LimitedProcess, progress: Progress) -> None:
        if self._progress.lines <= progress.lines <= self._start.batch.total:
            self._progress = progress
        else:
            program.end("it wrote a number of results that cannot be")

    async def _keep_lease(self, program: LimitedProcess) -> None:
        told, waits = self._progress, 0
        while True:
            await asyncio.sleep(_KEEP_S)
            waits += 1
            if self._progress is told and waits < _MOST_WAITS:
                continue
            with suppress(StoreUnavailable):
                progress = self._progress
                if not await self._keep(progress.lines, progress.state):
                    self._cut(program, "another deliverer has it now")
                    return
                told, waits = progress, 0

    async def _heed(self, program: LimitedProcess, stop: asyncio.Event) -> None:
        await stop.wait()
        self._cut(program, "the deliverer was stopped")

    def _cut(self, program: LimitedProcess, why: str, *, is_final: bool = False) -> None:
        """End it for a reason of ours."""
        progress = self._progress
        self._fault = HandlerEnd(progress.lines, progress.state, why, is_final=is_final)
        program.end(why)


def _write(writer: asyncio.StreamWriter, message: ToProcess) -> None:
    _check_open(writer)
    writer.write(framed(message))


def _check_open(writer: asyncio.StreamWriter) -> None:
    """Raise ConnectionResetError where uvloop would raise RuntimeError."""
    if writer.is_closing():
        raise ConnectionResetError
