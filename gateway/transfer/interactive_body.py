"""Takes in the body of an interactive request whole: at most what a line of a batch, or its file, holds."""

from __future__ import annotations

from aiohttp import web

from batchline.errors import RequestTooLarge
from gateway.keys import SETTINGS

from .body import Body
from .spooled_body import HeldBody


async def receive(request: web.Request, body: HeldBody, *, has_file: bool = False) -> None:
    """Read all of it into `body`. Raises RequestTooLarge, UnsupportedEncoding, Invalid, DiskFull.

    One that has a file may have as many bytes as the file of a line.
    """
    settings = request.app[SETTINGS]
    most, setting = settings.max_line_bytes, "BATCHLINE_MAX_LINE_BYTES"
    if has_file:
        most, setting = settings.media_max_bytes, "BATCHLINE_MEDIA_MAX_BYTES"

    def too_large() -> Exception:
        return RequestTooLarge(
            f"The request body is too large. The limit is {most} bytes ({setting}). Send less, or "
            "ask the operator to raise it."
        )

    async for chunk in Body(request, max_bytes=most, too_large=too_large):
        await body.add(chunk)
