"""The API key: required on /v1 if `Settings.api_key` is set; otherwise any header or none will do."""

from __future__ import annotations

import hmac

from aiohttp import web
from aiohttp.typedefs import Handler

from batchline.errors import Unauthorized

from .keys import SETTINGS


@web.middleware
async def require_key(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse /v1 without the key. Never tells what was sent."""
    expected = request.app[SETTINGS].api_key
    if expected is None or not request.path.startswith("/v1/"):
        return await handler(request)
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # Compared as bytes: compare_digest takes no str outside ASCII.
    if scheme.lower() != "bearer" or not hmac.compare_digest(
        given.strip().encode("utf-8", "surrogateescape"), expected.encode()
    ):
        raise Unauthorized(
            "Incorrect API key provided. Send this server's key as 'Authorization: Bearer <key>'; "
            "the openai package does so with OpenAI(api_key=...)."
        )
    return await handler(request)
