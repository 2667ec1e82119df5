"""The dashboard's routes: the page, its parts, its stream and its static files. No decision about content.

Every answer carries a policy that lets the browser load and run only what this server sends.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import aiohttp_jinja2
from aiohttp import web
from aiohttp_sse import sse_response

from batchline import __version__
from batchline.errors import Unavailable

from .api_reference.reference import Reference, reference
from .poller import Live, Snapshot
from .security_headers import HEADERS

PARTS = (
    "sentence",
    "notices",
    "running",
    "vitals",
    "chart",
    "backends",
    "finished",
    "storage",
    "deliveries",
)
_STATIC = Path(__file__).parent / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
_LOCAL = "http://localhost:5000"  # how samples name the server
_PING_S = 15.0
_SEND_TIMEOUT_S = 20.0
_RETRY_AFTER_S = "10"


def read_assets() -> dict[str, bytes]:
    """Read the static files once; there are few and they are small."""
    return {path.name: path.read_bytes() for path in sorted(_STATIC.iterdir())}


def moment(iso: str, now: str) -> str:
    """Write a moment for readers without JavaScript: UTC, with the day when it is not today."""
    if not iso:
        return ""
    at, today = datetime.fromisoformat(iso), datetime.fromisoformat(now)
    text = at.astimezone(UTC).strftime("%H:%M UTC")
    return text if at.date() == today.date() else f"{at:%a} {text}"


class Pages:
    """The dashboard's handlers over one `Live`, and over the API's document."""

    def __init__(
        self,
        live: Live,
        assets: Mapping[str, bytes],
        document: Callable[[], Mapping[str, Any]],
        token_of: Callable[[web.Request], str | None],
        *,
        max_viewers: int,
    ) -> None:
        self._live = live
        self._max_viewers = max_viewers
        self._assets = assets
        self._document = document
        self._token_of = token_of
        self._rendered: tuple[Snapshot | None, dict[str, str]] = (None, {})
        self._tags = {n: blake2b(c, digest_size=6).hexdigest() for n, c in assets.items()}

    async def overview(self, request: web.Request) -> web.Response:
        """Answer the first page, whole and readable without JavaScript."""
        try:
            snapshot = await self._live.newest()
        except Unavailable as exc:
            return self._html("error.html", request, {"reason": str(exc)}, status=503)
        parts = {name: self._part(request, snapshot, name) for name in PARTS}
        context = {"f": snapshot.shown.figures, "parts": parts}
        return self._html("overview.html", request, context)

    @cached_property
    def _reference(self) -> Reference:
        return reference(self._document())

    async def docs(self, request: web.Request) -> web.Response:
        """Answer the API reference; its samples name the server as this reader reached it."""
        context = {
            "reference": self._reference,
            "origin": _origin(request),
            "local": _LOCAL,
        }
        return self._html("docs.html", request, context)

    def sign_in(
        self, request: web.Request, *, onward: str, was_wrong: bool, is_from_elsewhere: bool
    ) -> web.Response:
        """Answer the page that asks for the key; `onward` is where the reader goes next."""
        context = {"onward": onward, "was_wrong": was_wrong, "is_again": is_from_elsewhere}
        return self._html("sign-in.html", request, context)

    async def refresh(self) -> None:
        """Read what is shown anew, since a reader changed something."""
        with suppress(Unavailable):  # the page says why
            await self._live.refresh()

    async def part(self, request: web.Request) -> web.Response:
        """Answer one part as HTML; the page swaps it in when its structure changed."""
        name = request.match_info["name"]
        if name not in PARTS:
            return web.Response(status=404, text="No such part.", headers=HEADERS)
        try:
            snapshot = await self._live.newest()
        except Unavailable as exc:
            return web.Response(status=503, text=str(exc), headers=HEADERS)
        text = self._part(request, snapshot, name)
        headers = {**HEADERS, "Cache-Control": "no-store"}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send the page's changes as they happen: figures as one object, shapes as `part`."""
        if self._live.viewers >= self._max_viewers:
            return web.Response(
                status=503,
                text=f"{self._max_viewers} pages are watched already (BATCHLINE_MAX_DOWNLOADS).",
                headers={**HEADERS, "Retry-After": _RETRY_AFTER_S},
            )
        async with (
            sse_response(request, ping_interval=_PING_S, send_timeout=_SEND_TIMEOUT_S) as answer,
            self._live.watching(),
        ):
            async for change in self._live.changes():
                if not answer.is_connected():
                    break
                if change.shapes:
                    await answer.send(json.dumps(change.shapes), event="part")
                await answer.send(json.dumps(change.figures), id=str(change.number))
        return answer

    async def static(self, request: web.Request) -> web.Response:
        """Answer one static file; its address changes with its content, so it may be kept."""
        name = request.match_info["name"]
        return self._asset(request, name)

    async def favicon(self, request: web.Request) -> web.Response:
        """Answer the icon; with `attention` in the query it has a dot."""
        is_alert = "attention" in request.query
        return self._asset(request, "favicon-attention.svg" if is_alert else "favicon.svg")

    def _asset(self, request: web.Request, name: str) -> web.Response:
        content = self._assets.get(name)
        if content is None:
            return web.Response(status=404, text="No such file.", headers=HEADERS)
        is_versioned = request.query.get("v") == self._tags[name]
        keep = "public, max-age=31536000, immutable" if is_versioned else "no-cache"
        headers = {**HEADERS, "Cache-Control": keep, "ETag": f'"{self._tags[name]}"'}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        kind = _TYPES[Path(name).suffix]
        return web.Response(body=content, content_type=kind, charset="utf-8", headers=headers)

    def _part(self, request: web.Request, snapshot: Snapshot, name: str) -> str:
        """Render a part, which is the same for all viewers, once for each snapshot."""
        if self._rendered[0] is not snapshot:
            self._rendered = (snapshot, {})
        rendered = self._rendered[1]
        if name not in rendered:
            context = {
                "f": snapshot.shown.figures,
                "p": snapshot.shown.parts[name],
                "shape": snapshot.shapes[name],
            }
            rendered[name] = aiohttp_jinja2.render_string(f"parts/{name}.html", request, context)
        return rendered[name]

    def _html(
        self,
        template: str,
        request: web.Request,
        context: Mapping[str, object],
        *,
        status: int = 200,
    ) -> web.Response:
        frame = {
            "tags": self._tags,
            "version": __version__,
            "token": self._token_of(request),
        }
        response = aiohttp_jinja2.render_template(
            template, request, {**frame, **context}, status=status
        )
        response.headers.update(HEADERS)
        response.headers["Cache-Control"] = "no-store"
        return response


def _origin(request: web.Request) -> str:
    # Behind a proxy that ends TLS this is http: what the proxy says of the scheme may be forged.
    return f"{request.scheme}://{request.host}" if _HOST.fullmatch(request.host) else _LOCAL
