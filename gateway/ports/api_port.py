"""The port on which clients and people reach the gateway."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from batchline import __version__
from batchline.errors import Unavailable
from batchline.serving.listening import shown_address
from batchline.serving.sockets import start_sites
from gateway.connections.bound import Limits
from gateway.connections.connection import Runner
from gateway.keys import PATIENCE, SETTINGS

log = logging.getLogger("gateway")


@asynccontextmanager
async def listening(
    app: web.Application, limits: Limits, *, shutdown_s: float
) -> AsyncIterator[tuple[web.TCPSite, ...]]:
    """Serve while the body runs; yield what listens. Raises Unavailable: the port is taken."""
    settings = app[SETTINGS]
    runner = Runner(
        app,
        limits=limits,
        access_log=None,
        shutdown_timeout=shutdown_s,
        keepalive_timeout=app[PATIENCE].idle_s,
    )
    await runner.setup()
    try:
        try:
            sites = await start_sites(runner, settings.host, settings.port)
        except OSError as exc:
            where = shown_address(settings.host, settings.port)
            raise Unavailable(
                f"Cannot listen on {where}: {exc.strerror or exc}. Stop what uses the port, or choose "
                "another address with --host and --port (BATCHLINE_HOST, BATCHLINE_PORT)."
            ) from exc
        where = ", ".join(f"http://{shown_address(*a[:2])}" for a in runner.addresses)
        log.info("gateway %s listens on %s", __version__, where)
        yield sites
    finally:
        await runner.cleanup()
