"""Building and sending of good answers. Errors are raised, never built: see `errors.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
from aiohttp import web

from batchline.wire import encode

_STALL_S = 300  # a client that takes nothing for so long has gone


def json_answer(shape: msgspec.Struct, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer 200 with one of the shapes of `wire`."""
    return web.Response(body=encode(shape), content_type="application/json", headers=headers)


async def write(response: web.StreamResponse, chunk: bytes) -> None:
    """Send a piece of an answer. Raises ConnectionError if the client has gone or takes nothing."""
    try:
        async with asyncio.timeout(_STALL_S):
            await response.write(chunk)
    except TimeoutError as exc:
        raise ConnectionAbortedError("The client takes nothing any more.") from exc
