"""The middleware that identifies the caller, and refuses unknown ones."""

from __future__ import annotations

import logging
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler

from batchline.errors import Forbidden, Unauthorized
from batchline.serving.request_log import REQUESTS
from gateway.keys import CLOCK

from .credentials import TOKEN_HEADER, read
from .decision import UNASKED, Caller, Lock, Refusal
from .entrances import FORMS, Entrance, entrance
from .wrong_keys import WrongKeys

CALLER = web.RequestKey("caller", Caller)
LOCK = web.AppKey("lock", Lock)
"""Absent if no key is set; then everybody may do everything."""
WRONG_KEYS = web.AppKey("wrong_keys", WrongKeys)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})

log = logging.getLogger(REQUESTS)


@web.middleware
async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Store the caller under `CALLER`. No message repeats what was sent.

    Raises Unauthorized, Forbidden; HTTPSeeOther for a browser that must sign in.
    """
    lock = request.app.get(LOCK)
    if lock is None:
        request[CALLER] = UNASKED
        return await handler(request)
    resource = request.match_info.route.resource
    at = entrance(resource.canonical if resource else None)
    found = lock.who(
        read(request.headers),
        at,
        address=request.remote,
        is_change=request.method not in _READING and request.path not in FORMS,
    )
    if isinstance(found, Refusal):
        raise await _refusal(request, found, at)
    request[CALLER] = found
    return await handler(request)


async def _refusal(request: web.Request, why: Refusal, at: Entrance) -> Exception:
    if why is Refusal.NO_TOKEN:
        return Forbidden(
            "A signed-in browser may only read, unless a page of this server asks: send the token of the "
            f"session in the header {TOKEN_HEADER}, or the API key."
        )
    if why is Refusal.WRONG_KEY:
        await slow_down(request)
    elif _is_reader(request, at):
        return web.HTTPSeeOther("/sign-in?next=" + quote(request.path_qs, safe="/"))
    return Unauthorized(
        "Incorrect API key provided. Send this server's key as 'Authorization: Bearer <key>'; "
        "the packages of OpenAI and Anthropic do so with api_key=..."
    )


async def slow_down(request: web.Request) -> None:
    """Count a wrong key, and return when it may be answered."""
    address, clock = request.remote or "unknown", request.app[CLOCK]
    delay_s, is_news = request.app[WRONG_KEYS].note(address, clock.monotonic())
    if is_news:
        log.warning(
            "wrong API key from %s; more from there are answered later and later, and logged once an hour",
            address,
        )
    if delay_s:
        await clock.sleep(delay_s)


def _is_reader(request: web.Request, at: Entrance) -> bool:
    """Whether a browser opens a page or follows a link, so that a person sees the answer."""
    if request.method != "GET":
        return False
    if mode := request.headers.get("Sec-Fetch-Mode"):
        return mode == "navigate"
    return at is Entrance.PAGE and "text/html" in request.headers.get("Accept", "")
