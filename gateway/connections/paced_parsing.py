"""A connection that parses much at once in several turns of the event loop, so that others get theirs.

The system delivers up to 256 KB at a time. Parsing one piece of a body of that size is little work; parsing
as many HTTP chunks of one byte, or short requests, takes a tenth of a second.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from aiohttp import web

_PIECE_BYTES = 2048  # parsed in one turn: at most 350 chunks, a millisecond
_BYTES_PER_LINE = 128  # on average: parsing longer lines takes little time
_FREE_LINES = 64


class TurnTaker(web.RequestHandler):
    """A RequestHandler that calls `parse` with what it received, in pieces if that is much work."""

    __slots__ = ("_unparsed",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unparsed: deque[bytes] = deque()

    def parse(self, data: bytes) -> None:
        """Parse these bytes, or without any those that the parser held back."""
        super().data_received(data)

    def data_received(self, data: bytes) -> None:
        """Parse at once what is little work, the rest in later turns of the event loop."""
        if not data:
            self.parse(data)
            return
        is_waiting = bool(self._unparsed)
        self._unparsed.extend(_pieces(data))
        if not is_waiting:
            self._parse_next()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Drop what was not parsed yet."""
        self._unparsed.clear()
        super().connection_lost(exc)

    def _parse_next(self) -> None:
        if not self._unparsed:
            return
        self.parse(self._unparsed.popleft())
        if self._unparsed:
            self._pause_transport_reading()
            self._loop.call_soon(self._parse_next)
        elif not self._reading_paused and not self._buffer_paused:
            self._resume_transport_reading()

    def _resume_transport_reading(self) -> None:
        if not self._unparsed:  # else the rest comes first
            super()._resume_transport_reading()


def _pieces(data: bytes) -> list[bytes]:
    if data.count(b"\r\n") <= max(_FREE_LINES, len(data) // _BYTES_PER_LINE):
        return [data]
    return [data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES)]
