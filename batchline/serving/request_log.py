"""Bounds what clients can make a process log: few lines, short ones, no characters that draw or forge.

Whoever sends requests decides how many lines are logged about them and what they say. So what the loggers
below say is cut to 200 bytes, of a flood ten lines a second are kept, and the rest is counted. What
concerns batches and backends is nobody's to send, and passes as it is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import accumulate, takewhile

from aiohttp.http_exceptions import HttpProcessingError

REQUESTS = "batchline.requests"
"""The logger of all that is said about one request, of a client or of a batch, or one connection."""
LINE_BYTES = 200
LINES_A_SECOND = 10

_ABOUT_REQUESTS = (f"{REQUESTS}.", "aiohttp.", "asyncio.")  # asyncio's: faults in a connection
_TELL_S = 60.0  # how often a line says how many are missing
_SAME_TRACE_S = 60.0  # a fault is told with its traceback this often, else as a line alone
_MOST_TRACES = 100
_TRACE_FRAMES = 20

log = logging.getLogger("batchline")


@asynccontextmanager
async def bounded_request_log(
    count: Callable[[], None], *, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[None]:
    """Bound what the root's handlers write while the body runs; `count` is told of each line left out."""
    allowance = _Allowance(count, clock)
    filters = [(handler, _Filter(allowance, handler)) for handler in logging.getLogger().handlers]
    for handler, bound in filters:
        handler.addFilter(bound)
    telling = asyncio.create_task(_tell(allowance), name="request-log")
    try:
        yield
    finally:
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
        allowance.tell()
        for handler, bound in filters:
            handler.removeFilter(bound)


async def _tell(allowance: _Allowance) -> None:
    while True:
        await asyncio.sleep(_TELL_S)
        allowance.tell()


class _Allowance:
    """What may still be logged: lines of this second, tracebacks of this minute."""

    def __init__(self, count: Callable[[], None], clock: Callable[[], float]) -> None:
        self._count = count
        self._clock = clock
        self._lately: deque[float] = deque(maxlen=LINES_A_SECOND)
        self._traced: dict[str, float] = {}
        self._left_out = 0
        self._asked: logging.LogRecord | None = None
        self._is_kept = False

    def takes(self, record: logging.LogRecord) -> bool:
        """Say whether this line is kept: once, however many handlers ask."""
        if record is not self._asked:
            self._asked, self._is_kept = record, self._has_room()
        return self._is_kept

    def _has_room(self) -> bool:
        now = self._clock()
        if len(self._lately) == LINES_A_SECOND and now - self._lately[0] < 1.0:
            self._left_out += 1
            self._count()
            return False
        self._lately.append(now)
        return True

    def trace(self, exc: BaseException) -> str | None:
        """Return where it happened; None if that was told just now."""
        now, place = self._clock(), _place(exc)
        if now - self._traced.get(place, float("-inf")) < _SAME_TRACE_S:
            return None
        if len(self._traced) >= _MOST_TRACES:
            self._traced.clear()
        self._traced[place] = now
        return _frames(exc)

    def tell(self) -> None:
        if self._left_out:
            log.warning("%d more lines about requests were not logged", self._left_out)
            self._left_out = 0


class _Filter(logging.Filter):
    """Lets through what the allowance has room for, cut to what one line may hold."""

    def __init__(self, allowance: _Allowance, handler: logging.Handler) -> None:
        super().__init__()
        self._allowance = allowance
        self._handler = handler

    def filter(self, record: logging.LogRecord) -> bool:
        if not f"{record.name}.".startswith(_ABOUT_REQUESTS):
            return True
        exc, trace = record.exc_info[1] if record.exc_info else None, None
        is_malformed = isinstance(exc, HttpProcessingError)
        if is_malformed:  # the client's fault: there is nothing to find in our code
            forget_frames(exc)
        if not self._allowance.takes(record):
            return False
        message = record.getMessage()
        record.exc_info = record.exc_text = record.stack_info = None
        if exc is not None:
            message = f"{message}: {type(exc).__name__}: {exc}"
            if not is_malformed:
                trace = self._allowance.trace(exc)
        record.msg, record.args = "", ()
        room = LINE_BYTES - len(self._handler.format(record).encode()) - 1
        record.msg = fitting(message, room)
        record.exc_text = trace
        return True


def forget_frames(exc: BaseException | None) -> None:
    """Drop the frames of an error that a client made: they hold what was received, and the error itself.

    Such a circle lives until the next collection, which is rare here: measured, 50 MB of a flood.
    """
    while exc is not None:
        traceback.clear_frames(exc.__traceback__)
        exc.__traceback__ = None
        exc = exc.__cause__ or exc.__context__


def fitting(text: str, room: int) -> str:
    """Return what fits into so many bytes, as text and in JSON, control characters escaped."""
    pieces = [_harmless(character) for character in text[: room + 1]]
    sizes = accumulate(len(json.dumps(piece)) - 2 for piece in pieces)
    fits = sum(1 for _ in takewhile(lambda size: size <= room, sizes))
    return "".join(pieces[:fits])


def _harmless(character: str) -> str:
    if character.isascii() and character.isprintable():
        return character
    return character.encode("unicode_escape").decode()


def _place(exc: BaseException) -> str:
    last = traceback.format_tb(exc.__traceback__, limit=-1)
    return "".join([type(exc).__name__, *last])


def _frames(exc: BaseException) -> str:
    # Not its words, which may be the client's and endless: the line above has their beginning.
    frames = traceback.format_tb(exc.__traceback__, limit=-_TRACE_FRAMES)
    return "".join(["Traceback (most recent call last):\n", *frames]).rstrip("\n")
