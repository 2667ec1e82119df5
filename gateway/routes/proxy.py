"""Passes interactive requests to the upstream, so that one base_url serves them and batches.

A body is passed on byte for byte once it is complete and breaks no rule; an answer is passed on chunk by
chunk. Changes headers, and errors that are not in the endpoint's form; bounds every wait. Retries nothing:
nginx sends a request once more, the client does the rest (docs/decisions/007-interactive-requests.md).
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from mmap import mmap

import aiohttp
import msgspec
from aiohttp import web
from multidict import CIMultiDict

from batchline.api.endpoints import AUDIO, INTERACTIVE
from batchline.api.parameters import not_json
from batchline.errors import Invalid
from batchline.jsonl.body_rules import BodyRules
from batchline.serving.request_log import REQUESTS
from gateway.answer_headers import request_id
from gateway.answers import write
from gateway.connections.connection import Connection
from gateway.dialects.anthropic.errors import has_form, translated
from gateway.forms.content_disposition import read_header
from gateway.forms.ruled_fields import refuse_ruled_fields
from gateway.keys import METRICS, SETTINGS
from gateway.transfer.disk_space import disk_space_of
from gateway.transfer.interactive_body import receive
from gateway.transfer.spooled_body import HeldBody
from gateway.upstream.refusals import refusal
from gateway.upstream.session import BROKEN, fault, onward, post

PATHS = INTERACTIVE

_EVENTS, _FORM = "text/event-stream", "multipart/form-data"
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


async def forward(request: web.Request) -> web.StreamResponse:
    """Receive one request, and pass it on and its answer back. Raises as both steps do."""
    async with received(request) as body:
        return await pass_on(request, body)


@asynccontextmanager
async def received(request: web.Request) -> AsyncIterator[HeldBody]:
    """Hold the whole body of a request that breaks no rule; its handler ends if the client leaves.

    Raises RequestTooLarge, Invalid, DiskFull, StoreUnavailable, UnsupportedEncoding.
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
            yield body


async def pass_on(request: web.Request, body: HeldBody) -> web.StreamResponse:
    """Send a request on and its answer back; if the client leaves, the upstream's request ends at once.

    Raises NoBackend, BackendFailed, BackendSilent; ConnectionError if an answer that had begun must be cut.
    """
    began = time.perf_counter()
    async with await _send(request, body) as answer:
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            return await _refusal(request, answer)
        return await _pass_back(request, answer, began=began)


async def _receive(request: web.Request, body: HeldBody) -> None:
    """Read the whole body. Raises UnsupportedEncoding; Invalid: it breaks a rule, or is no JSON object.

    The endpoints that take a file take a form, too.
    """
    rules = request.app[SETTINGS].body_rules
    is_form = request.path in AUDIO and request.content_type == _FORM
    await receive(request, body, has_file=is_form)
    if is_form:
        _, given = read_header(request.headers["Content-Type"])
        await refuse_ruled_fields(body.pieces(), given.get("boundary", ""), rules)
    else:
        await body.look(partial(_refuse, rules))


def _refuse(rules: BodyRules, body: bytes | mmap) -> None:
    try:
        broken = next(rules.faults(body), None)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise not_json(exc) from exc
    if broken is not None:
        raise Invalid(broken.message, param=broken.param, code=broken.code)


async def _send(request: web.Request, body: HeldBody) -> aiohttp.ClientResponse:
    return await post(
        request.app,
        request.path,
        body.pieces(),
        size_bytes=body.size_bytes,
        request_id=request_id(request),
        headers=onward(request.headers),
    )


async def _pass_back(
    request: web.Request, answer: aiohttp.ClientResponse, *, began: float
) -> web.StreamResponse:
    chunks = answer.content.iter_any()
    try:
        first = await anext(
            chunks, b""
        )  # so that a loss before any byte is an error answer, not a cut one
    except BROKEN as exc:
        raise fault(exc) from exc
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
    except BROKEN as exc:
        log.warning(
            "%s: the model server broke off in mid-answer: %s",
            request_id(request),
            type(exc).__name__,
        )
        raise ConnectionAbortedError("The model server broke off in mid-answer.") from exc


async def _refusal(request: web.Request, answer: aiohttp.ClientResponse) -> web.Response:
    """Pass an error answer on with its status: OpenAI's unchanged, any other in OpenAI's form.

    Where Anthropic's clients ask, each is put into theirs.
    """
    body = await refusal(answer)
    if has_form(request.path):
        body = translated(answer.status, body, request_id=request_id(request))
    headers = _back(answer.headers)
    for name in _OF_THE_BODY:
        headers.popall(name, None)
    return web.Response(
        status=answer.status,
        body=body,
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
