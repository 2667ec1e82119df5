"""Signing in and out: exchanges the key for the cookie of a session. The dashboard draws the form."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import quote

from aiohttp import web

from .credentials import COOKIE
from .middleware import CALLER, LOCK, slow_down
from .page_forms import own_form, read_form
from .sessions import LASTS_S


class Page(Protocol):
    """Draws the page with the form."""

    def __call__(
        self, request: web.Request, *, onward: str, was_wrong: bool, is_from_elsewhere: bool
    ) -> web.Response:
        """Answer the page; `onward` is where its form leads."""


PAGE: web.AppKey[Page] = web.AppKey("sign_in_page", Page)


async def ask(request: web.Request) -> web.Response:
    """GET /sign-in: the page with the form, for people who are not signed in yet."""
    onward = local(request.query.get("next"))
    if LOCK not in request.app or request[CALLER].session is not None:
        raise web.HTTPSeeOther(onward)
    return request.app[PAGE](
        request,
        onward=onward,
        was_wrong="wrong" in request.query,
        # After a link of another site the browser sends no cookie: the page asks again by itself.
        is_from_elsewhere=request.headers.get("Sec-Fetch-Site") == "cross-site",
    )


async def sign_in(request: web.Request) -> web.Response:
    """POST /sign-in: check the key of the form, set a cookie, redirect to the page that was wanted."""
    lock = request.app.get(LOCK)
    fields = await read_form(request)
    onward = local(fields.get("next"))
    if lock is None:
        raise web.HTTPSeeOther(onward)
    if not lock.fits(fields.get("key", "").strip().encode("utf-8", "surrogateescape")):
        await slow_down(request)
        raise web.HTTPSeeOther(f"/sign-in?wrong=1&next={quote(onward, safe='/')}")
    answer = web.HTTPSeeOther(onward)
    answer.set_cookie(
        COOKIE,
        lock.sessions.open().cookie,
        max_age=LASTS_S,
        httponly=True,
        samesite="Strict",
        secure=_came_by_tls(request),
    )
    raise answer


async def sign_out(request: web.Request) -> web.Response:
    """POST /sign-out: delete the cookie. Raises Forbidden without the token of the session."""
    await own_form(request)
    answer = web.HTTPSeeOther("/sign-in")
    answer.del_cookie(COOKIE, httponly=True, samesite="Strict")
    raise answer


def local(path: str | None) -> str:
    """Return the path to redirect to: the one given, unless it leads to another server."""
    if (
        path is None
        or not path.startswith("/")
        or path[1:2] in ("/", "\\")
        or not path.isprintable()
    ):
        return "/"
    return path


def _came_by_tls(request: web.Request) -> bool:
    """Whether the browser uses TLS, to us or to a proxy that says so. A false claim only harms its sender."""
    return request.secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"
