"""`/v1/batches/{id}/results` and `/errors`: finished lines as NDJSON, also while the batch runs.

Lines are numbered from 1 in the order in which they finished; a number never changes, so `after_line` is
always exact. A client that follows gets lines in that order, and its count of lines is its place; else
lines come in input order, and `X-Last-Line` tells the highest number.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPMethod

from aiohttp import web

from batchline.api import parameters
from batchline.errors import Invalid
from batchline.jsonl.result_lines import fault_record
from batchline.model import Batch
from batchline.results import KnownPlaces, Reader, Window
from batchline.states import TERMINAL, BatchStatus
from gateway.answers import write
from gateway.keys import BLOBS, CLOCK, PATIENCE, STORE
from gateway.running_requests import RUNNING
from gateway.transfer.simultaneous_downloads import DOWNLOADS, FOLLOWERS

from .batches import named_batch

_LOOK_S = 0.25  # how soon a follower gets a finished line
HEARTBEAT = b"\n"

KNOWN_PLACES = web.AppKey("known", KnownPlaces)

Lines = AsyncGenerator[list[bytes], None]
"""Of results, some at a time."""


@dataclass(frozen=True, slots=True)
class _Query:
    """The request of a client, checked against the present state of the batch."""

    window: Window
    follow: bool


async def results(request: web.Request) -> web.StreamResponse:
    """GET /v1/batches/{id}/results: every finished line, successes and failures alike."""
    batch = await named_batch(request)
    query = _checked(request, batch)
    reader = reader_of(request)
    if query.follow:
        async with aclosing(reader.follow(batch, after=query.window.after)) as lines:
            with request.app[FOLLOWERS].one():
                return await _follow(request, lines)
    async with aclosing(reader.snapshot(batch, query.window)) as lines:
        return await _send(request, batch, query.window, lines)


async def errors(request: web.Request) -> web.StreamResponse:
    """GET /v1/batches/{id}/errors: the lines that failed; of a failed batch, its faults."""
    batch = await named_batch(request)
    if "follow" in request.query:
        raise Invalid(
            "Errors cannot be followed: their lines alone tell no place to go on from. Follow "
            f"/v1/batches/{batch.id}/results, or ask again with after_line set to X-Last-Line.",
            param="follow",
        )
    query = _checked(request, batch)
    failed = (
        _faults(batch)
        if batch.status is BatchStatus.FAILED
        else reader_of(request).snapshot(batch, query.window, only_failed=True)
    )
    async with aclosing(failed) as lines:
        return await _send(request, batch, query.window, lines)


def reader_of(request: web.Request) -> Reader:
    """Make a reader of results."""
    return Reader(
        request.app[STORE],
        request.app[BLOBS],
        clock=request.app[CLOCK].now,
        known=request.app[KNOWN_PLACES],
    )


def _checked(request: web.Request, batch: Batch) -> _Query:
    counts = batch.counts
    last = counts.total if batch.status in TERMINAL else counts.finished
    after = parameters.integer_text(
        request.query.get("after_line", "0"), param="after_line", lowest=0, highest=last
    )
    follow = parameters.boolean_text(request.query.get("follow", "false"), param="follow")
    return _Query(Window(after, last), follow)


async def _faults(batch: Batch) -> AsyncGenerator[list[bytes], None]:
    yield [fault_record(fault) for fault in batch.faults or ()]


async def _send(
    request: web.Request, batch: Batch, window: Window, lines: Lines
) -> web.StreamResponse:
    headers = {
        "X-Last-Line": str(window.last),
        "X-Incomplete": "false" if batch.status in TERMINAL else "true",
    }
    return await send_lines(request, lines, headers)


async def send_lines(
    request: web.Request, lines: Lines, headers: Mapping[str, str]
) -> web.StreamResponse:
    """Send the lines that exist. The first are read before the answer begins: missing ones are an error."""
    with request.app[DOWNLOADS].one():
        first = await anext(lines, None)
        response = _response()
        response.headers.update(headers)
        await response.prepare(request)
        if request.method == HTTPMethod.HEAD:
            return response
        if first:
            await write(response, b"".join(first))
        del first
        async for records in lines:
            await write(response, b"".join(records))
        await response.write_eof()
    return response


async def _follow(request: web.Request, lines: Lines) -> web.StreamResponse:
    """Send lines as they finish. Only a complete answer ends properly; a stop of the gateway cuts it."""
    records = await anext(lines, None)
    response = _response()
    await response.prepare(request)
    if request.method == HTTPMethod.HEAD:
        return response
    clock, heartbeat_s = request.app[CLOCK], request.app[PATIENCE].heartbeat_s
    sent_at = clock.monotonic()
    while records is not None:
        if request.app[RUNNING].is_draining:
            raise ConnectionAbortedError("The gateway stops; whoever follows comes back.")
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("Nobody follows any more.")
        if records:
            await write(response, b"".join(records))
            sent_at = clock.monotonic()
        else:
            if clock.monotonic() - sent_at >= heartbeat_s:
                await write(response, HEARTBEAT)
                sent_at = clock.monotonic()
            await clock.sleep(_LOOK_S)
        records = await anext(lines, None)
    await response.write_eof()
    return response


def _response() -> web.StreamResponse:
    """Make an answer that proxies do not buffer."""
    return web.StreamResponse(
        headers={
            "Content-Type": "application/x-ndjson",
            "X-Accel-Buffering": "no",
        }
    )
