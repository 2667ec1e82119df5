"""Builds and sends good answers. Errors are raised, and `errors.py` builds their answers."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

from batchline.api.objects.encoding import encode
from gateway.transfer.simultaneous_downloads import PIECE_BYTES


def json_answer(shape: msgspec.Struct, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer 200 with one of the shapes of `wire`."""
    return web.Response(body=encode(shape), content_type="application/json", headers=headers)


async def write(response: web.StreamResponse, chunk: bytes) -> None:
    """Send a part of an answer, piece by piece as the client takes it.

    Raises ConnectionError if the client has gone; the connection ends one that takes too little.
    """
    if len(chunk) <= PIECE_BYTES:
        await response.write(chunk)
        return
    whole = memoryview(chunk)
    for start in range(0, len(chunk), PIECE_BYTES):
        await response.write(whole[start : start + PIECE_BYTES])
