"""Takes in the body of an interactive request whole: at most what fits into a line of a batch."""

from __future__ import annotations

from aiohttp import web

from batchline.errors import RequestTooLarge
from gateway.keys import SETTINGS

from .body import Body
from .spooled_body import HeldBody


async def receive(request: web.Request, body: HeldBody) -> None:
    """Read all of it into `body`. Raises RequestTooLarge, UnsupportedEncoding, Invalid, DiskFull."""
    most = request.app[SETTINGS].max_line_bytes

    def too_large() -> Exception:
        return RequestTooLarge(
            f"The request body is too large. The limit is {most} bytes "
            "(BATCHLINE_MAX_LINE_BYTES). Send less, or ask the operator to raise it."
        )

    async for chunk in Body(request, max_bytes=most, too_large=too_large):
        await body.add(chunk)
