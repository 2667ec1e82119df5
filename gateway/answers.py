"""Building of good answers. Errors are raised, never built: see `errors.py`."""

from __future__ import annotations

import msgspec
from aiohttp import web

from batchline.wire import encode


def json_answer(shape: msgspec.Struct) -> web.Response:
    """Answer 200 with one of the shapes of `wire`."""
    return web.Response(body=encode(shape), content_type="application/json")
