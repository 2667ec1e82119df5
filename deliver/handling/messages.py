"""What the deliverer and the process of a handler say to each other, through a socket.

    deliverer   Start  Piece …  End
    process            Progress …      Done | Failed

A message is MessagePack behind its length in four bytes. The process may be anything, so what it sends is
bounded, and what is no message ends it.
"""

from __future__ import annotations

from asyncio import IncompleteReadError, StreamReader
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from batchline.handlers.batch import EndedBatch
from batchline.handlers.context import LARGEST_STATE_BYTES

_LENGTH_BYTES: Final = 4
LARGEST_REPLY_BYTES: Final = LARGEST_STATE_BYTES + 16 * 1024
LONGEST_WHY: Final = 1000


class Start(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    """Which handler shall handle which batch."""

    source: str
    """Where the handler is found, as `found` writes it."""
    handler: str
    batch: EndedBatch
    settings: Mapping[str, Any]
    idempotency_key: str
    attempt: int
    start: int
    """How many results were handled before."""
    state: bytes | None
    """JSON that the last checkpoint kept."""


class Piece(msgspec.Struct, frozen=True, tag="piece"):
    """Some results: (index, line of the result file, line of the input file or None)."""

    results: Sequence[tuple[int, bytes, bytes | None]]


class End(msgspec.Struct, frozen=True, tag="end"):
    """There are no more results."""


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """So many results are handled; `state` is JSON for a later attempt."""

    lines: int
    state: bytes


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The batch is handled."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The handler failed; with `is_final` it would do so again."""

    why: str
    is_final: bool = False


ToProcess = Start | Piece | End
FromProcess = Progress | Done | Failed

_to_process: msgspec.msgpack.Decoder[ToProcess] = msgspec.msgpack.Decoder(ToProcess)
_from_process: msgspec.msgpack.Decoder[FromProcess] = msgspec.msgpack.Decoder(FromProcess)


class NoMessage(Exception):
    """What came is no message."""


def framed(message: ToProcess | FromProcess) -> bytes:
    """Write a message as it is sent."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES) + body


async def read_by_process(reader: StreamReader) -> ToProcess:
    """Read what the deliverer sent. Raises EOFError: it is gone."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES))
        return _to_process.decode(await reader.readexactly(length))
    except IncompleteReadError as exc:
        raise EOFError from exc


async def read_by_deliverer(reader: StreamReader) -> FromProcess | None:
    """Read what a process sent, None at its end. Raises NoMessage."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES))
        if length > LARGEST_REPLY_BYTES:
            raise NoMessage
        return _from_process.decode(await reader.readexactly(length))
    except IncompleteReadError as exc:
        if exc.partial:
            raise NoMessage from exc
        return None
    except msgspec.DecodeError as exc:
        raise NoMessage from exc
