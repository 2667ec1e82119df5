"""A port for `/health` and `/metrics` of the gateway alone, where `metrics_port` is set.

The rules are those of the gateway's own port: the key or an address that may watch, known host names, bounds
of connections. Nothing else of the gateway can be reached here.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from aiohttp import web

from batchline.errors import Unavailable
from batchline.serving.listening import shown_address
from batchline.serving.sockets import start_sites
from gateway.answer_headers import on_prepare
from gateway.auth import LOCK, WRONG_KEYS, identify
from gateway.connections.bound import Limits
from gateway.connections.connection import Runner
from gateway.errors import answer_errors
from gateway.keys import BLOBS, CLOCK, METRICS, SETTINGS
from gateway.refuse_foreign import KNOWN, refuse_foreign
from gateway.request_metrics import measure
from gateway.routes import ops
from gateway.running_requests import RUNNING

_SHARED: tuple[web.AppKey[Any], ...] = (
    *(SETTINGS, BLOBS, METRICS, CLOCK),
    *(KNOWN, LOCK, WRONG_KEYS, RUNNING),
)
_MOST_CONNECTIONS = 32  # scrapers, which keep one each
_CLOSE_S = 1.0
_IDLE_S = 120.0

log = logging.getLogger("gateway")


def metrics_app(gateway: web.Application) -> web.Application:
    """Build the application of the port out of what the gateway's has."""
    app = web.Application(middlewares=[measure, answer_errors, refuse_foreign, identify])
    for key in _SHARED:
        if key in gateway:  # without a key of the operator's there is no lock
            app[key] = gateway[key]
    app.on_response_prepare.append(on_prepare)
    app.add_routes([web.get("/health", ops.health), web.get("/metrics", ops.metrics)])
    return app


@asynccontextmanager
async def metrics_port(gateway: web.Application, limits: Limits) -> AsyncIterator[None]:
    """Serve metrics while the body runs, if they have a port. Raises Unavailable: it is taken."""
    address = gateway[SETTINGS].metrics_address
    if address is None:
        yield
        return
    runner = Runner(
        metrics_app(gateway),
        limits=replace(limits, most=min(limits.most, _MOST_CONNECTIONS)),
        access_log=None,
        shutdown_timeout=_CLOSE_S,
        keepalive_timeout=_IDLE_S,
    )
    await runner.setup()
    try:
        try:
            await start_sites(runner, *address)
        except OSError as exc:
            raise Unavailable(
                f"Metrics cannot listen on {shown_address(*address)}: {exc.strerror or exc}. Set "
                "BATCHLINE_METRICS_PORT to a free port, or BATCHLINE_METRICS_HOST to an address of this host."
            ) from exc
        where = ", ".join(f"http://{shown_address(*a[:2])}/metrics" for a in runner.addresses)
        log.info("metrics on %s", where)
        yield
    finally:
        await runner.cleanup()
