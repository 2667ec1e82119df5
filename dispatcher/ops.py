"""The dispatcher's own small HTTP server: /health and /metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from batchline import __version__
from batchline.errors import Invalid
from batchline.identity import Part, identity
from batchline.listening import shown_address
from batchline.metrics import Metrics
from batchline.settings import Settings
from batchline.sites import start_sites


@asynccontextmanager
async def serve_ops(settings: Settings, metrics: Metrics) -> AsyncIterator[None]:
    """Serve while the body runs. Raises Invalid if the port is taken."""
    metrics.build_info.labels(__version__, settings.cell).set(1)

    told = identity(Part.DISPATCHER, settings.data_dir)

    async def health(_: web.Request) -> web.Response:
        return web.json_response(told)

    async def page(_: web.Request) -> web.Response:
        body = generate_latest(metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/health", health), web.get("/metrics", page)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await start_sites(runner, settings.host, settings.dispatcher_port)
        except OSError as exc:
            where = shown_address(settings.host, settings.dispatcher_port)
            raise Invalid(
                f"The dispatcher cannot listen on {where}: {exc.strerror or exc}. Set "
                "BATCHLINE_DISPATCHER_PORT to a free port."
            ) from exc
        yield
    finally:
        await runner.cleanup()
