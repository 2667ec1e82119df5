"""The process of a handler, a program of the deliverer's: for one attempt at a batch, or to look around.

    python -m deliver.handling.child list SOCKET    JSON of `Look` comes in, of `Inventory` goes out
    python -m deliver.handling.child run SOCKET     `messages` come in and go out

SOCKET is a descriptor. The handler's standard input is empty, and what it prints goes to the deliverer's log.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from batchline.handlers import Context, GiveUp, Result, Results
from batchline.process.service import die_with_parent

from .found import Broken, Found, is_async, look_into
from .inventory import Wanted, take_inventory
from .messages import (
    LONGEST_WHY,
    Done,
    End,
    Failed,
    FromProcess,
    Piece,
    Progress,
    Start,
    framed,
    read_by_process,
)
from .sync_form import handle_in_thread

_READ_AHEAD_BYTES = 1 << 18
_NICENESS = 10  # the dispatcher goes first


class Look(msgspec.Struct, frozen=True):
    """Where to look, and what the operator wants."""

    folder: str | None
    sections: Sequence[Wanted]


class Deliverer:
    """The other end of the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def tell(self, message: FromProcess) -> None:
        """Send a message."""
        self._writer.write(framed(message))
        await self._writer.drain()

    async def start(self) -> Start:
        """Wait for what shall be done."""
        message = await read_by_process(self._reader)
        assert isinstance(message, Start), "it comes first"
        return message

    async def pieces(self) -> AsyncIterator[Sequence[Result]]:
        """Yield the results as they come."""
        while not isinstance(message := await read_by_process(self._reader), End):
            assert isinstance(message, Piece), "nothing else comes before the end"
            yield [Result(*one) for one in message.results]

    async def wait_for_end(self) -> None:
        """Wait until it sends nothing more."""
        while await self._reader.read(_READ_AHEAD_BYTES):
            pass


async def _run(given: socket.socket) -> None:
    deliverer = Deliverer(*await asyncio.open_connection(sock=given, limit=_READ_AHEAD_BYTES))
    await deliverer.tell(await _outcome(await deliverer.start(), deliverer))
    await deliverer.wait_for_end()


async def _outcome(start: Start, deliverer: Deliverer) -> FromProcess:
    try:
        await _handle(_handler(start), start, deliverer)
    except EOFError:
        raise
    except GiveUp as exc:
        return Failed(_shortened(str(exc)), is_final=True)
    except Exception as exc:  # noqa: BLE001 - whatever code of others raises is told
        return Failed(_shortened(f"{type(exc).__name__}: {exc}"))
    return Done()


def _handler(start: Start) -> Found:
    looked = look_into(start.source)
    for one in looked:
        if isinstance(one, Found) and one.name == start.handler:
            return one
    why = next((one.why for one in looked if isinstance(one, Broken)), "it is not there any more")
    raise LookupError(f"{start.handler} in {start.source}: {why}")


async def _handle(found: Found, start: Start, deliverer: Deliverer) -> None:
    results = Results(deliverer.pieces(), start=start.start)
    context = Context(
        results,
        settings=start.settings,
        idempotency_key=start.idempotency_key,
        attempt=start.attempt,
        state=None if start.state is None else msgspec.json.decode(start.state),
        keep=lambda lines, state: deliverer.tell(Progress(lines, state)),
    )
    async with AsyncExitStack() as stack:
        if hasattr(found.handler, "__aenter__"):
            await stack.enter_async_context(found.handler)
        if is_async(found.handler):
            await found.handler.handle(start.batch, results, context)
        else:
            await handle_in_thread(found.handler, start.batch, results)


def _look(given: socket.socket) -> None:
    with given.makefile("rb") as file:
        look = msgspec.json.decode(file.read(), type=Look)
    folder = None if look.folder is None else Path(look.folder)
    given.sendall(msgspec.json.encode(take_inventory(folder, look.sections)))


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_WHY else text[: LONGEST_WHY - 1] + "…"


def main(task: str, descriptor: int) -> None:
    """Do the task. The socket is not passed on to programs that the handler starts."""
    die_with_parent(signal.SIGKILL)
    os.nice(_NICENESS)
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - os's interface
    tasks: dict[str, Callable[[socket.socket], None]] = {
        "list": _look,
        "run": lambda given: asyncio.run(_run(given)),
    }
    with socket.socket(fileno=descriptor) as given:
        tasks[task](given)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
