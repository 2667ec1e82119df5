"""Under which route, method and status each answer is counted and timed in the metrics."""

from __future__ import annotations

import time
from http import HTTPMethod

from aiohttp import web
from aiohttp.typedefs import Handler

from batchline.metrics import Metrics

from .answer_headers import BEGAN
from .keys import METRICS

_METHODS = frozenset(HTTPMethod)


@web.middleware
async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count and time every answer under its route's template."""
    request[BEGAN] = time.perf_counter()
    status = "torn"
    try:
        response = await handler(request)
        status = str(response.status)
    except web.HTTPException as exc:
        status = str(exc.status)
        raise
    finally:
        _record(request.app[METRICS], request, status, time.perf_counter() - request[BEGAN])
    return response


def _record(metrics: Metrics, request: web.Request, status: str, seconds: float) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource else "unmatched"
    method = request.method if request.method in _METHODS else "other"
    metrics.http_requests.labels(route, method, status).inc()
    metrics.http_seconds.labels(route, method).observe(seconds)
