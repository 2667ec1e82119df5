"""Runs the process of a handler: a socket to it, its output to the log, its time and memory bounded.

Whatever it does, it and all that it started are gone afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from batchline.child_environment import child_environment
from batchline.handlers.sections import Limits

from .process_tree import MARK, ProcessTree, memory_of

log = logging.getLogger(__name__)

MOST_PROCESSES = 256
_LOOK_S = 0.2
_ENDING_S = 0.02
_ENDINGS = 100
_LONGEST_LINE = 500
_MOST_LINES_LOGGED = 200
_READ_BYTES = 1 << 16
_HIDDEN = ("BATCHLINE_API_KEY", "BATCHLINE_UPSTREAM_API_KEY", "BATCHLINE_WEBHOOK_SECRET")


class LimitedProcess:
    """A process that runs, and the socket to it."""

    def __init__(
        self,
        process: Process,
        tree: ProcessTree,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.cut: str | None = None
        """Why it was ended before its time, if it was."""
        self._process = process
        self._tree = tree

    async def wait(self, limits: Limits) -> str | None:
        """Wait for its end, within its limits; return why that was a failure, if it was."""
        watching = asyncio.ensure_future(self._watch(limits))
        try:
            code = await self._process.wait()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await self._end_rest()
        return self.cut or (None if code == 0 else _told(code))

    def end(self, why: str) -> None:
        """Kill it and all that it started."""
        self.cut = self.cut or why
        self._tree.kill()

    async def close(self) -> None:
        """End what is left of it."""
        self._tree.kill()
        await self._process.wait()
        await self._end_rest()
        self.writer.close()

    async def _end_rest(self) -> None:
        """End what it left behind: with that, the last copies of its socket and its output go."""
        for _ in range(_ENDINGS):  # the dead stay where nobody reaps orphans, as in some containers
            if not await asyncio.to_thread(self._tree.kill):
                return
            await asyncio.sleep(_ENDING_S)

    async def _watch(self, limits: Limits) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limits.seconds
        while self.cut is None:
            await asyncio.sleep(_LOOK_S)
            if loop.time() > deadline:
                self.end(f"it took longer than {limits.seconds:g} s, its limit")
            elif (why := await asyncio.to_thread(self._excess, limits)) is not None:
                self.end(why)

    def _excess(self, limits: Limits) -> str | None:
        tree = self._tree.look()
        if len(tree) > MOST_PROCESSES:
            return f"it had more than {MOST_PROCESSES} processes"
        most = limits.memory_bytes
        if sum(one.memory_bytes for one in tree) <= most:
            return None
        used = memory_of(tree)
        told = f"it took {used >> 20} MiB of memory, and its limit is {most >> 20} MiB"
        return told if used > most else None


@asynccontextmanager
async def running(task: str, shown: str) -> AsyncIterator[LimitedProcess]:
    """Start `child` with a task; on leaving, it and all that it started are gone. `shown`: in the log."""
    ours, its = socket.socketpair()
    mark = secrets.token_hex(16)
    output, its_output = socket.socketpair()  # asyncio waits for its own pipes when a process ends
    with its, its_output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deliver.handling.child", task, str(its.fileno())),
            stdin=DEVNULL,
            stdout=its_output.fileno(),
            stderr=STDOUT,
            pass_fds=(its.fileno(),),
            env=child_environment({MARK: mark}, without=_HIDDEN),
            start_new_session=True,
        )
    streams = await asyncio.open_connection(sock=ours)
    program = LimitedProcess(process, ProcessTree(process.pid, mark), *streams)
    logging_it = asyncio.ensure_future(_log_output(output, shown))
    try:
        yield program
    finally:
        await program.close()
        await asyncio.wait([logging_it], timeout=_LOOK_S)
        logging_it.cancel()


async def _log_output(output: socket.socket, shown: str) -> None:
    """Log what it prints, line by line, the first lines only: it may print for ever."""
    reader, writer = await asyncio.open_connection(sock=output)
    logged = 0
    rest = b""
    while chunk := await reader.read(_READ_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest[:_LONGEST_LINE]
        for line in lines[: _MOST_LINES_LOGGED - logged]:
            _log_line(shown, line)
            logged += 1
    if rest and logged < _MOST_LINES_LOGGED:
        _log_line(shown, rest)
    writer.close()


def _log_line(shown: str, line: bytes) -> None:
    log.info("%s: %s", shown, line[:_LONGEST_LINE].decode(errors="replace").rstrip())


def _told(code: int) -> str:
    """Say in words how a process ended that failed."""
    return f"it ended with exit code {code}" if code > 0 else f"it was ended by signal {-code}"
