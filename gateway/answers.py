"""Building of good answers. Errors are raised, never built: see `errors.py`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

from batchline.wire import encode


def json_answer(shape: msgspec.Struct, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer 200 with one of the shapes of `wire`."""
    return web.Response(body=encode(shape), content_type="application/json", headers=headers)
