"""The gateway as a whole: its parts, its routes, its start and stop."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, closing

from aiohttp import web

from batchline import __version__
from batchline.api.endpoints import SYNCHRONOUS
from batchline.blobs import Blobs, open_blobs
from batchline.clock import Clock
from batchline.config.exposure import INSECURE_WARNING, is_open_to_others
from batchline.metrics import Metrics
from batchline.process.descriptors import Alarm, limit, watched
from batchline.process.locks import present
from batchline.results import KnownPlaces
from batchline.serving.origins import EVERY_HOST_WARNING
from batchline.serving.request_log import bounded_request_log
from batchline.settings import Settings
from batchline.store import View, open_store
from dashboard.app import add_dashboard
from gateway.background import routes as background
from gateway.background.background_request import ENDPOINT as RESPONSES
from gateway.connections.bound import limits_of
from gateway.connections.internals import check_aiohttp
from gateway.dialects.anthropic.routes import routes as anthropic_routes
from gateway.idempotency.by_retry import CREATING, Creating
from gateway.new_batches.received import MOST_SECOND_PASSES, SECOND_PASSES
from gateway.ports.api_port import listening
from gateway.ports.metrics_port import metrics_port
from gateway.routes import (
    batches,
    content,
    create_batch,
    deliveries,
    files,
    models,
    ops,
    proxy,
    results,
    retry,
    steering,
    uploads,
    webhooks,
)
from gateway.synchronous import route as synchronous
from gateway.synchronous.calls import SHARED, Shared
from gateway.transfer.body import wait_to_continue
from gateway.transfer.simultaneous_downloads import DOWNLOADS, FOLLOWERS, Downloads
from gateway.upstream.session import upstream_session

from . import openapi
from .answer_headers import on_prepare
from .auth import CALLER, LOCK, PAGE, WRONG_KEYS, Lock, WrongKeys, ask, identify, sign_in, sign_out
from .errors import answer_errors
from .keys import BLOBS, CLOCK, METRICS, PATIENCE, SETTINGS, STORE, GatewayStore, Patience
from .openapi import DOCUMENT, Document
from .refuse_foreign import KNOWN, refuse_foreign
from .replay_button import REFRESH, replay
from .request_metrics import measure
from .running_requests import RUNNING, Running, count_running

_MAX_JSON_BYTES = 1 << 20  # uploads are streamed and have their own limit
_CLOSE_S = 2  # for what still runs after the grace

log = logging.getLogger("gateway")


def create_app(
    *,
    settings: Settings,
    store: GatewayStore,
    blobs: Blobs,
    metrics: Metrics,
    clock: Clock,
    patience: Patience | None = None,
) -> web.Application:
    """Build the application of the HTTP API; the caller owns what is passed in."""
    app = web.Application(
        middlewares=[count_running, measure, answer_errors, refuse_foreign, identify],
        client_max_size=_MAX_JSON_BYTES,
    )
    app[SETTINGS] = settings
    app[STORE] = store
    app[BLOBS] = blobs
    app[METRICS] = metrics
    app[CLOCK] = clock
    app[PATIENCE] = patience = patience or Patience()
    if settings.api_key is not None:
        app[LOCK] = Lock(settings.api_key, watchers=settings.watch_from, clock=clock.now)
    app[WRONG_KEYS] = WrongKeys(longest_s=patience.wrong_key_s)
    app[RUNNING] = Running()
    app[CREATING] = Creating()
    app[SECOND_PASSES] = asyncio.Semaphore(MOST_SECOND_PASSES)
    app[results.KNOWN_PLACES] = KnownPlaces()
    app[webhooks.TESTS] = asyncio.Semaphore(webhooks.MOST_TESTS)
    for key, kind in ((DOWNLOADS, "download"), (FOLLOWERS, "follow")):
        app[key] = Downloads(kind, settings.max_downloads, metrics=metrics)
    app[SHARED] = Shared(settings, metrics=metrics, clock=clock)
    app[DOCUMENT] = Document(settings)
    app[KNOWN] = settings.known
    app.on_response_prepare.append(on_prepare)
    for route in _routes():
        if route.handler is ops.metrics and not settings.serve_metrics:
            continue
        route.kwargs["expect_handler"] = wait_to_continue
        route.register(app.router)
    app.cleanup_ctx.append(upstream_session)
    metrics.build_info.labels(__version__, settings.cell).set(1)
    return app


def add_pages(app: web.Application, *, view: View) -> None:
    """Add the pages: the dashboard, and signing in to it."""
    pages = add_dashboard(
        app,
        view=view,
        metrics=app[METRICS],
        blobs=app[BLOBS],
        clock=app[CLOCK].now,
        document=lambda: app[DOCUMENT].tree,
        token_of=lambda request: session.token if (session := request[CALLER].session) else None,
        max_viewers=app[SETTINGS].max_downloads,
        min_free_bytes=app[SETTINGS].min_free_bytes,
        has_standing=_has_standing(app[SETTINGS]),
    )
    app[PAGE] = pages.sign_in
    app[REFRESH] = pages.refresh
    app.add_routes(
        [
            web.get("/sign-in", ask),
            web.post("/sign-in", sign_in),
            web.post("/sign-out", sign_out),
            web.post("/replay", replay),
        ]
    )


def _has_standing(settings: Settings) -> bool:
    """Whether the operator set a receiver of events, or handlers. It looks for none of packages."""
    wanted = (settings.webhook_url, settings.handlers_file, settings.handlers_folder)
    return any(one is not None for one in wanted)


def _routes() -> list[web.RouteDef]:
    return [
        web.post("/v1/files", files.create),
        web.get("/v1/files", files.index),
        web.get("/v1/files/{file_id}", files.show),
        web.delete("/v1/files/{file_id}", files.delete),
        web.get("/v1/files/{file_id}/content", content.download),
        web.post("/v1/uploads", uploads.create),
        web.post("/v1/uploads/{upload_id}/parts", uploads.add_part),
        web.post("/v1/uploads/{upload_id}/complete", uploads.complete),
        web.post("/v1/uploads/{upload_id}/cancel", uploads.cancel),
        web.post("/v1/batches", create_batch.create),
        web.get("/v1/batches", batches.index),
        web.get("/v1/batches/{batch_id}", batches.show),
        web.post("/v1/batches/{batch_id}/cancel", batches.cancel),
        web.get("/v1/batches/{batch_id}/results", results.results),
        web.get("/v1/batches/{batch_id}/errors", results.errors),
        web.post("/v1/batches/{batch_id}/pause", steering.pause),
        web.post("/v1/batches/{batch_id}/resume", steering.resume),
        web.post("/v1/batches/{batch_id}/retry", retry.retry),
        web.delete("/v1/batches/{batch_id}", steering.delete),
        web.get("/v1/batches/{batch_id}/deliveries", deliveries.of_batch),
        web.post("/v1/webhook_endpoints", webhooks.create),
        web.get("/v1/webhook_endpoints", webhooks.index),
        web.get("/v1/webhook_endpoints/{endpoint_id}", webhooks.show),
        web.post("/v1/webhook_endpoints/{endpoint_id}", webhooks.update),
        web.delete("/v1/webhook_endpoints/{endpoint_id}", webhooks.delete),
        web.post("/v1/webhook_endpoints/{endpoint_id}/rotate_secret", webhooks.rotate_secret),
        web.post("/v1/webhook_endpoints/{endpoint_id}/test", webhooks.test),
        web.get("/v1/webhook_endpoints/{endpoint_id}/deliveries", deliveries.of_endpoint),
        web.get("/v1/webhook_event_types", webhooks.event_types),
        web.get("/v1/deliveries", deliveries.index),
        web.post("/v1/deliveries/{delivery_id}/replay", deliveries.replay),
        web.post(SYNCHRONOUS, synchronous.create),
        *(web.post(path, proxy.forward) for path in proxy.PATHS if path != RESPONSES),
        web.post(RESPONSES, background.create),
        web.get("/v1/responses/{response_id}", background.show),
        web.post("/v1/responses/{response_id}/cancel", background.cancel),
        web.delete("/v1/responses/{response_id}", background.delete),
        *anthropic_routes(),
        web.get("/v1/models", models.index),
        web.get("/v1/models/{model_id:.+}", models.show),
        web.get("/health", ops.health),
        web.get("/ready", ops.ready),
        web.get("/metrics", ops.metrics),
        web.get("/openapi.json", openapi.show),
    ]


async def serve(
    settings: Settings, stop: asyncio.Event, *, patience: Patience | None = None
) -> None:
    """Serve until `stop`, then finish running requests within `grace_s`.

    Raises StoreUnavailable, NewerStore; Unavailable if the port is taken, or aiohttp is another one.
    """
    clock = Clock()
    await check_aiohttp()
    async with AsyncExitStack() as stack:
        if not await stack.enter_async_context(present(settings.data_dir, stop)):
            return
        await stack.enter_async_context(watched(Alarm()))
        blobs = stack.enter_context(closing(open_blobs(settings.blobs_dir)))
        store = await stack.enter_async_context(
            open_store(settings.database_path, clock_ms=lambda: int(clock.now() * 1000))
        )
        metrics = Metrics(cell=settings.cell)
        await stack.enter_async_context(bounded_request_log(metrics.unlogged_requests.inc))
        app = create_app(
            settings=settings,
            store=store,
            blobs=blobs,
            metrics=metrics,
            clock=clock,
            patience=patience,
        )
        add_pages(app, view=store)
        limits = limits_of(settings, open_files=limit())
        await stack.enter_async_context(metrics_port(app, limits))
        sites = await stack.enter_async_context(listening(app, limits, shutdown_s=_CLOSE_S))
        if app[KNOWN].takes_every_host:
            log.warning(EVERY_HOST_WARNING)
        if is_open_to_others(settings):
            log.warning(INSECURE_WARNING)
        await stop.wait()
        log.info("gateway finishes its running requests")
        for site in sites:
            await site.stop()
        await app[RUNNING].drain(grace_s=settings.grace_s)
