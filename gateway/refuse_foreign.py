"""The middleware that refuses unknown hosts and foreign pages, before keys are checked.

`batchline.serving.origins` decides. This raises the errors, and tells browsers about the pages that the
operator named (CORS, Fetch Standard §3.3).
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import assert_never

from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict

from batchline.api.parameters import shown
from batchline.errors import ForeignOrigin, Invalid, UnknownHost
from batchline.serving.origins import Access, Head, Known, foreign_origin, judge
from batchline.serving.request_log import REQUESTS
from batchline.serving.web import head_of

KNOWN = web.AppKey("known", Known)
_EXPOSED = (
    "content-disposition, openai-processing-ms, request-id, retry-after, x-batchline-replayed, x-incomplete, "
    "x-last-line, x-request-id, x-should-retry"
)
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE",
    # The wildcard takes whatever an SDK adds; Authorization is not in it (Fetch Standard §4.9).
    "Access-Control-Allow-Headers": "Authorization, *",
    "Access-Control-Max-Age": "600",
}

log = logging.getLogger(REQUESTS)


@web.middleware
async def refuse_foreign(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a preflight, or pass the request on. Raises Invalid, UnknownHost, ForeignOrigin."""
    head, known = head_of(request), request.app[KNOWN]
    access = judge(head, known)
    match access:
        case Access.GRANTED:
            return await handler(request)
        case Access.PREFLIGHT:
            return web.Response(status=HTTPStatus.NO_CONTENT, headers=_PREFLIGHT)
        case Access.WRONG_VERSION:
            raise Invalid("This server speaks HTTP/1.1 and HTTP/1.0; the request is neither.")
        case Access.UNKNOWN_HOST:
            raise UnknownHost(_unknown_host(head, known))
        case Access.FOREIGN_ORIGIN:
            raise ForeignOrigin(_foreign_origin(head))
        case _:
            assert_never(access)


def allow_named_origins(request: web.Request, headers: CIMultiDict[str]) -> None:
    """Allow the pages that the operator named to read an answer; others get no header."""
    named = request.app[KNOWN].origins
    if not named:
        return
    headers.add("Vary", "Origin")
    if (origin := request.headers.get("Origin")) in named:
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Expose-Headers"] = _EXPOSED


def _unknown_host(head: Head, known: Known) -> str:
    host = next(host for host in head.hosts if not known.knows(host))
    log.warning("refused: unknown host %s", shown(host))
    return (
        f"This server is not known as {shown(host)}. Send the request to its IP address or to localhost, or "
        "ask the operator to name the host in BATCHLINE_ALLOWED_HOSTS."
    )


def _foreign_origin(head: Head) -> str:
    origin = foreign_origin(head)
    whose = "another site" if origin is None else f"the origin {shown(origin)}"
    log.warning("refused: %s by a page of %s", head.method, whose)
    return (
        f"A web page of {whose} may not change anything here. To allow it, the operator names its origin in "
        "BATCHLINE_ALLOWED_ORIGINS."
    )
