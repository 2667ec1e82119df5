"""Interactive requests go through to the upstream, so that one base_url serves them and batches.

Bodies pass as they come, in both directions, chunk by chunk. Owns what is changed on the way: headers,
errors that are not OpenAI's, and every bound. Judges and retries nothing: nginx sends a request once more,
the client does the rest (docs/decisions/007-interactive-requests.md).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from batchline.descriptors import are_out
from batchline.endpoints import ENDPOINTS
from batchline.errors import (
    BackendFailed,
    BackendSilent,
    BatchlineError,
    NoBackend,
    NoDescriptors,
    RequestTooLarge,
)
from batchline.fleet.nginx import GROUP
from batchline.lines import error_object
from batchline.request_log import REQUESTS

from .answers import write
from .body import Body
from .exchange import request_id
from .keys import METRICS, SETTINGS
from .protocol import Connection

SESSION = web.AppKey("session", aiohttp.ClientSession)
PATHS = ENDPOINTS
"""Where interactive requests may go: whatever a batch may call."""

_CONNECT_S = 10.0
_TAKE_S = 120.0  # an upstream that takes no piece of a body for so long hangs
_KEEPALIVE_S = 4.0  # below the 5 s after which uvicorn closes idle connections
_MAX_ERROR_BYTES = 1 << 20
_EVENTS = "text/event-stream"
_ONWARD = ("Accept", "Content-Type", "User-Agent", "Traceparent", "Tracestate", "Baggage")
_BACK = (
    "Content-Type",
    "Content-Encoding",
    "Content-Length",
    "Retry-After",
    "Retry-After-Ms",
    "X-Should-Retry",
    "Openai-Model",
    "Openai-Processing-Ms",
    "Openai-Version",
)
_BACK_PREFIX = "x-ratelimit-"
_OF_THE_BODY = ("Content-Type", "Content-Encoding", "Content-Length")

log = logging.getLogger(REQUESTS)


async def upstream_session(app: web.Application) -> AsyncIterator[None]:
    """Hold the one session to the upstream while the application runs."""
    settings = app[SETTINGS]
    headers = {"Accept-Encoding": "identity"}
    if settings.upstream_api_key:
        headers["Authorization"] = f"Bearer {settings.upstream_api_key}"
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_S, sock_read=settings.request_timeout_s
        ),
        trust_env=False,
        auto_decompress=False,
    ) as session:
        app[SESSION] = session
        yield


async def forward(request: web.Request) -> web.StreamResponse:
    """Pass one request on and its answer back; when the client leaves, the upstream is told at once.

    Raises RequestTooLarge, NoBackend, BackendFailed, BackendSilent; ConnectionError where an answer that
    had begun must be torn.
    """
    settings = request.app[SETTINGS]
    body = _Passage(request, max_bytes=settings.max_line_bytes)
    connection = request.protocol
    assert isinstance(connection, Connection)
    in_flight = request.app[METRICS].interactive_in_flight.labels(request.path)
    with in_flight.track_inprogress():
        async with connection.while_present():
            began = time.perf_counter()
            async with await _send(request, body) as answer:
                if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
                    return await _refusal(answer)
                return await _pass_back(request, answer, began=began)


async def _send(request: web.Request, body: _Passage) -> aiohttp.ClientResponse:
    try:
        async with asyncio.timeout(None) as writing:
            return await request.app[SESSION].post(
                URL(request.app[SETTINGS].upstream_url + request.path),
                data=body.chunks(writing),
                headers=_onward(request),
                allow_redirects=False,
            )
    except (aiohttp.ClientError, OSError) as exc:
        # What went wrong with the client's body reaches us as a failure to send it.
        raise body.failure or _fault(exc) from exc


class _Passage:
    """A client's body on its way to the upstream."""

    def __init__(self, request: web.Request, *, max_bytes: int) -> None:
        """Raises UnsupportedEncoding; RequestTooLarge if more than `max_bytes` are announced."""

        def too_large() -> Exception:
            return RequestTooLarge(
                f"The request body is too large. The limit is {max_bytes} bytes "
                "(BATCHLINE_MAX_LINE_BYTES). Send less, or ask the operator to raise it."
            )

        self._body = Body(request, max_bytes=max_bytes, too_large=too_large)
        self.failure: Exception | None = None
        """Why the body ended early, if it did: the session sees no more than that it did."""

    async def chunks(self, writing: asyncio.Timeout) -> AsyncIterator[bytes]:
        """Yield what arrives; `writing` runs while a piece is not taken."""
        loop = asyncio.get_running_loop()
        while chunk := await self._next():
            writing.reschedule(loop.time() + _TAKE_S)
            yield chunk
            writing.reschedule(None)

    async def _next(self) -> bytes:
        try:
            return await anext(aiter(self._body), b"")
        except Exception as exc:
            self.failure = exc
            raise


def _onward(request: web.Request) -> Mapping[str, str]:
    """Make the headers for the upstream: never our API key, never what rules one connection only."""
    headers = {name: request.headers[name] for name in _ONWARD if name in request.headers}
    headers["X-Request-Id"] = request_id(request)
    if request.content_length is not None and "Content-Encoding" not in request.headers:
        headers["Content-Length"] = str(request.content_length)
    return headers


def _fault(exc: BaseException) -> BatchlineError:
    match exc:
        case OSError() if are_out(exc):
            return NoDescriptors(
                "The gateway has run out of file descriptors and could not ask a model server. Try "
                "again later; the operator raises its limit of open files (ulimit -n)."
            )
        case aiohttp.ConnectionTimeoutError() | aiohttp.ClientConnectorError():
            return NoBackend(
                "No model server accepts connections at present. Try again later; the operator "
                "finds the reason at /ready."
            )
        case TimeoutError():
            return BackendSilent("The model server said nothing for too long. Ask for less.")
        case _:
            return BackendFailed(
                "The model server broke off before it answered. Send the request again."
            )


async def _pass_back(
    request: web.Request, answer: aiohttp.ClientResponse, *, began: float
) -> web.StreamResponse:
    chunks = answer.content.iter_any()
    try:
        first = await anext(chunks, b"")  # so that a loss before any byte is an error, not torn
    except (aiohttp.ClientError, OSError) as exc:
        raise _fault(exc) from exc
    metrics = request.app[METRICS]
    metrics.interactive_first_byte_seconds.labels(request.path).observe(time.perf_counter() - began)
    response = web.StreamResponse(status=answer.status, headers=_back(answer.headers))
    if answer.content_type == _EVENTS:
        response.headers["X-Accel-Buffering"] = "no"  # a proxy before us must not hold tokens back
    await response.prepare(request)
    await write(response, first)
    while chunk := await _next(request, chunks):
        await write(response, chunk)
    await response.write_eof()
    return response


async def _next(request: web.Request, chunks: AsyncIterator[bytes]) -> bytes:
    try:
        return await anext(chunks, b"")
    except (aiohttp.ClientError, OSError) as exc:
        log.warning(
            "%s: the model server broke off in mid-answer: %s",
            request_id(request),
            type(exc).__name__,
        )
        raise ConnectionAbortedError("The model server broke off in mid-answer.") from exc


async def _refusal(answer: aiohttp.ClientResponse) -> web.Response:
    """Pass an error answer on: OpenAI's as it is, any other as one of ours with the same status."""
    if answer.headers.get("X-Upstream") == GROUP:
        raise NoBackend("No model server is in service at present. Try again later.")
    if answer.status < HTTPStatus.BAD_REQUEST:
        raise BackendFailed(
            f"The upstream redirects ({answer.status}) instead of answering. The operator must set "
            "BATCHLINE_UPSTREAM_URL to the address that answers."
        )
    body = bytearray()
    try:
        async for chunk in answer.content.iter_any():
            body += chunk[: _MAX_ERROR_BYTES - len(body)]
    except (aiohttp.ClientError, OSError) as exc:
        raise _fault(exc) from exc
    headers = _back(answer.headers)
    for name in _OF_THE_BODY:
        headers.popall(name, None)
    return web.Response(
        status=answer.status,
        body=error_object(answer.status, bytes(body)),
        content_type="application/json",
        headers=headers,
    )


def _back(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Pick the answer's headers that are the client's business."""
    kept = CIMultiDict((name, headers[name]) for name in _BACK if name in headers)
    kept.extend(
        (name, value) for name, value in headers.items() if name.lower().startswith(_BACK_PREFIX)
    )
    return kept
