"""The headers of every answer, ids among them, and whether an answer began.

Everything that reaches a client passes `on_prepare`, streamed answers and errors included.
"""

from __future__ import annotations

import secrets
import time

from aiohttp import web

from batchline.serving.web import protect

from .dialects.anthropic.errors import REQUEST_ID as REQUEST_ID_THERE
from .dialects.anthropic.errors import has_form
from .refuse_foreign import allow_named_origins
from .running_requests import RUNNING

REQUEST_ID = web.RequestKey("request_id", str)
_STARTED = web.RequestKey("started", bool)
BEGAN = web.RequestKey("began", float)
"""When the request came, on `time.perf_counter`."""
SERVER = "batchline"
"""The `Server` header of every answer, without versions."""


async def on_prepare(request: web.Request, response: web.StreamResponse) -> None:
    """Stamp the answer's headers just before they are sent."""
    request[_STARTED] = True
    stamp(request, response)
    allow_named_origins(request, response.headers)
    if BEGAN in request:
        elapsed_ms = int((time.perf_counter() - request[BEGAN]) * 1000)
        response.headers["openai-processing-ms"] = str(elapsed_ms)
    if request.app[RUNNING].is_draining:
        response.headers["Connection"] = "close"
        response.force_close()


def stamp(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Set the headers that every answer has."""
    response.headers["x-request-id"] = request_id(request)
    if has_form(request.path):
        response.headers[REQUEST_ID_THERE] = request_id(request)
    response.headers["Server"] = SERVER
    protect(response.headers)


def request_id(request: web.BaseRequest) -> str:
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
