"""Passes interactive requests to the upstream, so that one base_url serves them and batches.

A body is passed on byte for byte once it is complete and breaks no rule; an answer is passed on chunk by
chunk. Changes headers, and errors that are not OpenAI's; bounds every wait. Retries nothing: nginx sends a
request once more, the client does the rest (docs/decisions/007-interactive-requests.md).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from functools import partial
from http import HTTPStatus
from mmap import mmap

import aiohttp
import msgspec
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from batchline.api.endpoints import AUDIO, ENDPOINTS
from batchline.api.parameters import not_json
from batchline.errors import (
    BackendFailed,
    BackendSilent,
    BatchlineError,
    Invalid,
    NoBackend,
    NoDescriptors,
    RequestTooLarge,
)
from batchline.fleet.nginx import GROUP
from batchline.jsonl.body_rules import BodyRules
from batchline.jsonl.result_lines import error_object
from batchline.process.descriptors import are_out
from batchline.serving.request_log import REQUESTS
from gateway.answer_headers import request_id
from gateway.answers import write
from gateway.connections.connection import Connection
from gateway.forms.content_disposition import read_header
from gateway.forms.ruled_fields import refuse_ruled_fields
from gateway.keys import METRICS, PATIENCE, SETTINGS
from gateway.transfer.body import Body
from gateway.transfer.disk_space import disk_space_of
from gateway.transfer.spooled_body import HeldBody

SESSION = web.AppKey("session", aiohttp.ClientSession)
PATHS = ENDPOINTS
"""The endpoints of interactive requests: those of batches."""

_CONNECT_S = 10.0
_KEEPALIVE_S = 4.0  # below the 5 s after which uvicorn closes idle connections
_MAX_ERROR_BYTES = 1 << 20
_EVENTS, _FORM = "text/event-stream", "multipart/form-data"
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
    """Pass one request on and its answer back; if the client leaves, end the upstream's request at once.

    Raises RequestTooLarge, Invalid, DiskFull, StoreUnavailable, NoBackend, BackendFailed, BackendSilent;
    ConnectionError if an answer that had begun must be cut.
    """
    connection = request.protocol
    assert isinstance(connection, Connection)
    in_flight = request.app[METRICS].interactive_in_flight.labels(request.path)
    folder = request.app[SETTINGS].data_dir
    with in_flight.track_inprogress():
        async with (
            HeldBody(folder, disk_space=disk_space_of(request)) as body,
            connection.while_present(),
        ):
            await _receive(request, body)
            began = time.perf_counter()
            async with await _send(request, body) as answer:
                if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
                    return await _refusal(answer)
                return await _pass_back(request, answer, began=began)


async def _receive(request: web.Request, body: HeldBody) -> None:
    """Read the whole body. Raises UnsupportedEncoding; Invalid: it breaks a rule, or is no JSON object.

    The endpoints that take a file take a form, too, with as many bytes as the file of a line may have.
    """
    settings = request.app[SETTINGS]
    is_form = request.path in AUDIO and request.content_type == _FORM
    most_bytes, setting = settings.max_line_bytes, "BATCHLINE_MAX_LINE_BYTES"
    if is_form:
        most_bytes, setting = settings.media_max_bytes, "BATCHLINE_MEDIA_MAX_BYTES"

    def too_large() -> Exception:
        return RequestTooLarge(
            f"The request body is too large. The limit is {most_bytes} bytes ({setting}). Send less, or "
            "ask the operator to raise it."
        )

    async for chunk in Body(request, max_bytes=most_bytes, too_large=too_large):
        await body.add(chunk)
    if is_form:
        _, given = read_header(request.headers["Content-Type"])
        rules = settings.body_rules
        await refuse_ruled_fields(body.pieces(), given.get("boundary", ""), rules)
    else:
        await body.look(partial(_refuse, settings.body_rules))


def _refuse(rules: BodyRules, body: bytes | mmap) -> None:
    try:
        fault = next(rules.faults(body), None)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise not_json(exc) from exc
    if fault is not None:
        raise Invalid(fault.message, param=fault.param, code=fault.code)


async def _send(request: web.Request, body: HeldBody) -> aiohttp.ClientResponse:
    try:
        async with asyncio.timeout(None) as writing:
            return await request.app[SESSION].post(
                URL(request.app[SETTINGS].upstream_url + request.path),
                data=_paced(body.pieces(), writing, request.app[PATIENCE].stall_s),
                headers=_onward(request, body),
                allow_redirects=False,
            )
    except (aiohttp.ClientError, OSError) as exc:
        raise _fault(exc) from exc


async def _paced(
    pieces: AsyncIterator[bytes], writing: asyncio.Timeout, stall_s: float
) -> AsyncIterator[bytes]:
    """Yield the pieces; `writing` runs out if one is not taken within `stall_s`."""
    loop = asyncio.get_running_loop()
    async for piece in pieces:
        writing.reschedule(loop.time() + stall_s)
        yield piece
        writing.reschedule(None)


def _onward(request: web.Request, body: HeldBody) -> Mapping[str, str]:
    """Make the headers for the upstream: without our API key and headers of the connection."""
    headers = {name: request.headers[name] for name in _ONWARD if name in request.headers}
    headers["X-Request-Id"] = request_id(request)
    headers["Content-Length"] = str(body.size_bytes)
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
        first = await anext(
            chunks, b""
        )  # so that a loss before any byte is an error answer, not a cut one
    except (aiohttp.ClientError, OSError) as exc:
        raise _fault(exc) from exc
    metrics = request.app[METRICS]
    metrics.interactive_first_byte_seconds.labels(request.path).observe(time.perf_counter() - began)
    response = web.StreamResponse(status=answer.status, headers=_back(answer.headers))
    if answer.content_type == _EVENTS:
        response.headers["X-Accel-Buffering"] = "no"  # proxies before us must not buffer tokens
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
    """Pass an error answer on: OpenAI's unchanged, any other in OpenAI's form with the same status."""
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
    """Choose the headers of the answer that the client gets."""
    kept = CIMultiDict((name, headers[name]) for name in _BACK if name in headers)
    kept.extend(
        (name, value) for name, value in headers.items() if name.lower().startswith(_BACK_PREFIX)
    )
    return kept
