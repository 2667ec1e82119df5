"""What gateway and dispatcher share as HTTP servers: reading a request's head, guarding every answer."""

from __future__ import annotations

from aiohttp import web
from multidict import CIMultiDict

from .origins import Head

PROTECTION = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def head_of(request: web.BaseRequest) -> Head:
    """Gather what `origins.judge` asks about."""
    headers = request.headers
    return Head(
        method=request.method,
        version=(request.version.major, request.version.minor),
        # `host` is the target's, where that is a whole URL; without any, the address we listen on.
        hosts=tuple(dict.fromkeys((*headers.getall("Host", []), request.host))),
        origins=tuple(headers.getall("Origin", [])),
        sites=tuple(headers.getall("Sec-Fetch-Site", [])),
        asks_for=headers.get("Access-Control-Request-Method"),
    )


def protect(headers: CIMultiDict[str]) -> None:
    """Keep an answer from being guessed at, embedded or kept; one with an ETag says itself how long.

    Such are the page's static files and the API's description, which hold nothing of anybody's.
    """
    headers.update(PROTECTION)
    if "ETag" not in headers:
        headers["Cache-Control"] = "no-store"
