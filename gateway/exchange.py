"""Requests and their answers: ids, headers, whether an answer began, metrics, how many run.

Everything that reaches a client passes `on_prepare`, streamed answers and errors included.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPMethod

from aiohttp import web
from aiohttp.typedefs import Handler

from batchline.metrics import Metrics
from batchline.serving.web import protect

from .keys import METRICS
from .refuse_foreign import allow_named_origins

REQUEST_ID = web.RequestKey("request_id", str)
_STARTED = web.RequestKey("started", bool)
_BEGAN = web.RequestKey("began", float)
SERVER = "batchline"
"""The `Server` header of every answer, without versions."""
_METHODS = frozenset(HTTPMethod)


class Running:
    """The API requests that run at present, and whether the gateway is stopping."""

    def __init__(self) -> None:
        self.is_draining = False
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one request while the body runs."""
        self._count += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._idle.set()

    async def drain(self, *, grace_s: float) -> None:
        """Wait until none is left, at most `grace_s`; answers meanwhile close their connection.

        aiohttp's own shutdown stops reading at once, so that a running upload could never end.
        """
        self.is_draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()


RUNNING = web.AppKey("running", Running)


async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
    """Stamp the answer's headers just before they are sent."""
    request[_STARTED] = True
    stamp(response, request_id(request))
    allow_named_origins(request, response.headers)
    if _BEGAN in request:
        elapsed_ms = int((time.perf_counter() - request[_BEGAN]) * 1000)
        response.headers["openai-processing-ms"] = str(elapsed_ms)
    if request.app[RUNNING].is_draining:
        response.headers["Connection"] = "close"
        response.force_close()


def stamp(response: web.StreamResponse, request_id: str) -> None:
    """Set the headers that every answer has."""
    response.headers["x-request-id"] = request_id
    response.headers["Server"] = SERVER
    protect(response.headers)


def request_id(request: web.Request) -> str:
    """Return the id of this request, made on first use; what a client sends is not echoed."""
    if REQUEST_ID not in request:
        request[REQUEST_ID] = new_request_id()
    return request[REQUEST_ID]


def new_request_id() -> str:
    """Make `req_` + 32 hexadecimal characters."""
    return "req_" + secrets.token_hex(16)


def has_started(request: web.Request) -> bool:
    """Whether headers were sent already, so that no other answer is possible."""
    return _STARTED in request


@web.middleware
async def count_running(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count API requests, for which a stop waits; the dashboard's endless streams end by themselves."""
    if not request.path.startswith("/v1/"):
        return await handler(request)
    with request.app[RUNNING].one():
        return await handler(request)


@web.middleware
async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count and time every answer under its route's template."""
    request[_BEGAN] = time.perf_counter()
    status = "torn"
    try:
        response = await handler(request)
        status = str(response.status)
    except web.HTTPException as exc:
        status = str(exc.status)
        raise
    finally:
        _record(request.app[METRICS], request, status, time.perf_counter() - request[_BEGAN])
    return response


def _record(metrics: Metrics, request: web.Request, status: str, seconds: float) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource else "unmatched"
    method = request.method if request.method in _METHODS else "other"
    metrics.http_requests.labels(route, method, status).inc()
    metrics.http_seconds.labels(route, method).observe(seconds)
