"""Bodies on their way, in either direction: bounded in size, and no wait without an end.

Uploads have their own reader (`uploads.py`); everything else that a client sends is read here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from batchline.errors import RequestTooLarge

STALL_S = 120.0
"""A client that sends nothing for so long, or takes so long over a small body, has gone."""

TAKE_STALL_S = 300.0
"""A reader of an answer who takes nothing for so long has gone."""


async def read_body(request: web.Request) -> bytes:
    """Read a small body whole. Raises HTTPRequestTimeout, HTTPRequestEntityTooLarge."""
    try:
        async with asyncio.timeout(STALL_S):
            return await request.read()
    except TimeoutError as exc:
        raise _stalled() from exc


async def write(response: web.StreamResponse, chunk: bytes) -> None:
    """Send a piece of an answer. Raises ConnectionError if the client has gone or takes nothing."""
    try:
        async with asyncio.timeout(TAKE_STALL_S):
            await response.write(chunk)
    except TimeoutError as exc:
        raise ConnectionAbortedError("The client takes nothing any more.") from exc


class Body:
    """A client's body that is passed on while it arrives."""

    def __init__(self, request: web.Request, *, max_bytes: int) -> None:
        """Raises RequestTooLarge if the client announces more than `max_bytes`."""
        self._content = request.content
        self._max_bytes = max_bytes
        self._passed_bytes = 0
        self.failure: Exception | None = None
        """Why the body ended early, if it did: the other side sees no more than that it did."""
        if (request.content_length or 0) > max_bytes:
            raise self._too_large()

    async def chunks(self, writing: asyncio.Timeout) -> AsyncIterator[bytes]:
        """Yield what arrives; `writing` runs while a chunk is not taken."""
        loop = asyncio.get_running_loop()
        while chunk := await self._next():
            writing.reschedule(loop.time() + STALL_S)
            yield chunk
            writing.reschedule(None)

    async def _next(self) -> bytes:
        try:
            return await self._arriving()
        except Exception as exc:
            self.failure = exc
            raise

    async def _arriving(self) -> bytes:
        try:
            async with asyncio.timeout(STALL_S):
                chunk = await self._content.readany()
        except TimeoutError as exc:
            raise _stalled() from exc
        self._passed_bytes += len(chunk)
        if self._passed_bytes > self._max_bytes:
            raise self._too_large()
        return chunk

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(
            f"The request body is too large. The limit is {self._max_bytes} bytes "
            "(BATCHLINE_MAX_LINE_BYTES); make the request smaller, or ask the operator to raise it."
        )


def _stalled() -> web.HTTPRequestTimeout:
    return web.HTTPRequestTimeout(
        reason=f"The request body stopped arriving: {STALL_S:.0f} s without its end. Send it again."
    )
