"""The small HTTP server of a process without an API: /health and /metrics, for whoever knows its name."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from batchline import __version__
from batchline.errors import Invalid
from batchline.metrics import Metrics
from batchline.serving.identity import Part, identity, name_of
from batchline.serving.listening import shown_address
from batchline.serving.origins import Access, Known, judge
from batchline.serving.request_log import REQUESTS
from batchline.serving.sockets import start_sites
from batchline.serving.web import head_of, protect
from batchline.settings import Settings

log = logging.getLogger(REQUESTS)


@asynccontextmanager
async def serve_ops(part: Part, settings: Settings, metrics: Metrics) -> AsyncIterator[None]:
    """Serve while the body runs. Raises Invalid if the port is taken."""
    metrics.build_info.labels(__version__, settings.cell).set(1)
    name, host, port = _place(part, settings)
    told = identity(part, settings.data_dir)

    async def health(_: web.Request) -> web.Response:
        return web.json_response(told)

    async def page(_: web.Request) -> web.Response:
        body = generate_latest(metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(middlewares=[_refusing_foreign(settings.known, name)])
    app.add_routes([web.get("/health", health)])
    if settings.serve_metrics:
        app.add_routes([web.get("/metrics", page)])
    app.on_response_prepare.append(_on_prepare)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await start_sites(runner, host, port)
        except OSError as exc:
            raise Invalid(
                f"The {name} cannot listen on {shown_address(host, port)}: {exc.strerror or exc}. Set "
                f"BATCHLINE_{name.upper()}_PORT to a free port, or BATCHLINE_{name.upper()}_HOST to an "
                "address of this host."
            ) from exc
        yield
    finally:
        await runner.cleanup()


def _place(part: Part, settings: Settings) -> tuple[str, str, int]:
    """Return the name of a process, and where it listens."""
    if part is Part.DISPATCHER:
        return name_of(part), settings.dispatcher_host, settings.dispatcher_port
    assert part is Part.DELIVERER, "the gateway has an API"
    return name_of(part), settings.deliverer_host, settings.deliverer_port


def _refusing_foreign(known: Known, name: str) -> Middleware:
    """Make the middleware that lets nobody in by a name that is not ours: there is nothing to change here."""

    @web.middleware
    async def refuse_foreign(request: web.Request, handler: Handler) -> web.StreamResponse:
        head = head_of(request)
        match judge(head, known):
            case Access.WRONG_VERSION:
                raise web.HTTPBadRequest
            case Access.UNKNOWN_HOST:
                log.warning("refused: unknown host %s", request.host)
                raise web.HTTPMisdirectedRequest(
                    text=f"The {name} is not known by this host name. Name it in "
                    "BATCHLINE_ALLOWED_HOSTS."
                )
            case _:
                return await handler(request)

    return refuse_foreign


async def _on_prepare(_: web.Request, response: web.StreamResponse) -> None:
    protect(response.headers)
