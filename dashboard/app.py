"""Mount the dashboard on an application. The gateway calls this once; nothing else is public."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp_jinja2
import jinja2
from aiohttp import web

from batchline.blobs.base import Blobs
from batchline.metrics import Metrics
from batchline.store import View

from .api_reference.descriptions import inline, paragraphs
from .api_reference.reference import schema_anchor
from .poller import Live
from .routes import Pages, moment, read_assets

log = logging.getLogger("batchline.dashboard")

_FILTERS: Mapping[str, Callable[..., str]] = {
    "moment": moment,
    "inline": inline,
    "paragraphs": paragraphs,
    "schema_anchor": schema_anchor,
}


def add_dashboard(
    app: web.Application,
    *,
    view: View,
    metrics: Metrics,
    blobs: Blobs,
    clock: Callable[[], float],
    document: Callable[[], Mapping[str, Any]],
    token_of: Callable[[web.Request], str | None] = lambda _: None,
    max_viewers: int = 200,
    min_free_bytes: int = 0,
    has_standing: bool = False,
) -> Pages:
    """Add `/`, its parts, stream and static files, and the poller that lives as long as the app.

    `document` returns the OpenAPI document that `/docs` shows; `token_of` the token of a signed-in reader's
    session, which each form that changes something sends. At most `max_viewers` pages are kept live.
    `min_free_bytes`: what is kept free of the disk; `has_standing`: whether the operator set a receiver of
    events, or handlers of results.
    """
    _set_up_templates(app)
    live = Live(
        view=view,
        blobs=blobs,
        metrics=metrics,
        clock=clock,
        min_free_bytes=min_free_bytes,
        has_standing=has_standing,
    )
    pages = Pages(live, read_assets(), document, token_of, max_viewers=max_viewers)
    app.add_routes(_routes(pages))

    async def poll(app: web.Application) -> AsyncIterator[None]:
        del app
        task = asyncio.create_task(live.run(), name="dashboard-poller")
        task.add_done_callback(_report_end)
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def end_streams(app: web.Application) -> None:
        del app
        await live.close()

    app.cleanup_ctx.append(poll)
    app.on_shutdown.append(end_streams)
    return pages


def _set_up_templates(app: web.Application) -> None:
    aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        filters=_FILTERS,
    )


def _routes(pages: Pages) -> list[web.RouteDef]:
    return [
        web.get("/", pages.overview),
        web.get("/docs", pages.docs),
        web.get("/ui/stream", pages.stream, allow_head=False),
        web.get("/ui/part/{name}", pages.part),
        web.get("/static/{name}", pages.static),
        web.get("/favicon.svg", pages.favicon),
    ]


def _report_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (exc := task.exception()) is not None:
        log.error("the dashboard's poller ended; pages still load, streams stop", exc_info=exc)
