"""What is known of one request and its answer: the request id, whether the answer began, the figures.

Everything that reaches a client passes `on_prepare`, streamed answers and errors included.
"""

from __future__ import annotations

import secrets
import time
from http import HTTPMethod

from aiohttp import web
from aiohttp.typedefs import Handler

from batchline.metrics import Metrics

from .keys import METRICS

REQUEST_ID = web.RequestKey("request_id", str)
_STARTED = web.RequestKey("started", bool)
_METHODS = frozenset(HTTPMethod)


async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
    """Stamp the answer's headers just before they are sent."""
    request[_STARTED] = True
    response.headers["x-request-id"] = request_id(request)


def request_id(request: web.Request) -> str:
    """Return the id of this request, made on first use; what a client sends is not echoed."""
    if REQUEST_ID not in request:
        request[REQUEST_ID] = new_request_id()
    return request[REQUEST_ID]


def new_request_id() -> str:
    """Make `req_` + 32 hexadecimal characters."""
    return "req_" + secrets.token_hex(16)


def has_started(request: web.Request) -> bool:
    """Tell whether headers were sent already, so that no other answer is possible."""
    return _STARTED in request


@web.middleware
async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count and time every answer under its route's template."""
    began = time.perf_counter()
    status = "torn"
    try:
        response = await handler(request)
        status = str(response.status)
    except web.HTTPException as exc:
        status = str(exc.status)
        raise
    finally:
        _record(request.app[METRICS], request, status, time.perf_counter() - began)
    return response


def _record(metrics: Metrics, request: web.Request, status: str, seconds: float) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource else "unmatched"
    method = request.method if request.method in _METHODS else "other"
    metrics.http_requests.labels(route, method, status).inc()
    metrics.http_seconds.labels(route, method).observe(seconds)
