"""The body of a request as handlers read it: bounded in size and time, and unpacked.

The only reader of `request.content`: aiohttp's own decompression is off (`connection.py`), so other readers
would get compressed bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from aiohttp import HttpVersion11, web

from batchline.jsonl.compression import Unpacker, coding_of
from gateway.keys import CLOCK, PATIENCE

CHUNK_BYTES = 1 << 18
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_WAITS = web.RequestKey("waits_to_continue", bool)


class Body:
    """One request's body, in chunks."""

    def __init__(
        self, request: web.Request, *, max_bytes: int, too_large: Callable[[], Exception]
    ) -> None:
        """Check encoding and length in the headers. Raises UnsupportedEncoding, `too_large`."""
        coding = coding_of(request.headers.get("Content-Encoding"))
        self._request = request
        self._unpacker = Unpacker(coding, what="the request's body") if coding else None
        self._max_bytes = max_bytes
        self._too_large = too_large
        self._received_bytes = 0
        self._waited_s = 0.0
        self._clock, self._patience = request.app[CLOCK], request.app[PATIENCE]
        self._unpacked_bytes = 0
        self._chunks = self._read_chunks()
        if (request.content_length or 0) > max_bytes:
            raise too_large()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    async def _read_chunks(self) -> AsyncIterator[bytes]:
        await self._send_continue()
        while chunk := await self._receive():
            if self._unpacker is None:
                yield chunk
                continue
            async for piece in unpack(self._unpacker, chunk):
                self._unpacked_bytes += len(piece)
                if self._unpacked_bytes > self._max_bytes:
                    raise self._too_large()
                yield piece
        if self._unpacker is not None and self._received_bytes:
            self._unpacker.finish()

    async def _receive(self) -> bytes:
        began = self._clock.monotonic()
        stall_s, slowest_bytes_s = self._patience.stall_s, self._patience.slowest_bytes_s
        paced_s = stall_s + self._received_bytes / slowest_bytes_s - self._waited_s
        try:
            async with asyncio.timeout(min(stall_s, paced_s)):
                chunk = await self._request.content.read(CHUNK_BYTES)
        except TimeoutError as exc:
            raise web.HTTPRequestTimeout(
                reason=f"The request's body stopped arriving or came too slowly: nothing for "
                f"{stall_s:.0f} s, or less than {slowest_bytes_s} bytes/s. Send it again."
            ) from exc
        self._waited_s += self._clock.monotonic() - began
        self._received_bytes += len(chunk)
        if self._received_bytes > self._max_bytes:
            raise self._too_large()
        return chunk

    async def _send_continue(self) -> None:
        if _WAITS in self._request:
            await self._request.writer.write(_CONTINUE)
            self._request.writer.output_size = 0  # the final answer has not begun


async def wait_to_continue(request: web.Request) -> None:
    """Answer `Expect: 100-continue` only when the body is read, so that refused bodies are not sent."""
    if request.version >= HttpVersion11 and request.headers["Expect"].lower() == "100-continue":
        request[_WAITS] = True  # other expectations are ignored (RFC 9110 §10.1.1)


async def read_body(request: web.Request, *, max_bytes: int | None = None) -> bytes:
    """Return the whole body, unpacked; at most `max_bytes`, by default those of any JSON body.

    Raises UnsupportedEncoding, Invalid; HTTPRequestEntityTooLarge.
    """
    limit = max_bytes or request.client_max_size

    def too_large() -> Exception:
        return web.HTTPRequestEntityTooLarge(limit, text=f"The limit is {limit} bytes.")

    return b"".join([chunk async for chunk in Body(request, max_bytes=limit, too_large=too_large)])


async def unpack(unpacker: Unpacker, data: bytes) -> AsyncIterator[bytes]:
    """Yield what `data` unpacks to, each step in a thread."""
    pieces = unpacker.feed(data)
    while piece := await asyncio.to_thread(next, pieces, b""):
        yield piece
