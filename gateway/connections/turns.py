"""A connection on which thousands of tiny things that arrive at once take turns with other connections.

The system hands over up to 256 KB at a time. As one piece of a body that is little work; as HTTP chunks of
one byte, or as requests one after another, it is the work of a tenth of a second.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from aiohttp import web

_PIECE_BYTES = 2048  # of tiny things, in one turn: at most 350 chunks, a millisecond
_BYTES_PER_LINE = 128  # on average: with longer lines it is not parsing that takes the time
_FREE_LINES = 64


class TurnTaker(web.RequestHandler):
    """A RequestHandler that calls `parse` with what it received, if need be in pieces."""

    __slots__ = ("_unparsed",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unparsed: deque[bytes] = deque()

    def parse(self, data: bytes) -> None:
        """Parse some bytes, or (without any) what the parser held back."""
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
        """Forget what its client did not wait for."""
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
