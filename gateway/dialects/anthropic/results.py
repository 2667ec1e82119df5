"""`GET /v1/messages/batches/{id}/results`: JSON Lines, each request exactly once, in constant memory."""

from __future__ import annotations

from contextlib import aclosing

from aiohttp import web

from batchline.errors import NotFound
from batchline.jsonl.request_lines import decode_requests
from batchline.model import Batch
from batchline.results import Window
from batchline.states import TERMINAL, BatchStatus
from gateway.keys import BLOBS
from gateway.routes.results import Lines, reader_of, send_lines

from .batches import named
from .ids import shown_id
from .objects import total
from .result_lines import result_line, unrun_line, unrun_result


async def results(request: web.Request) -> web.StreamResponse:
    """Send the results of a batch that has ended, in the order of its requests."""
    batch = await named(request)
    if batch.status not in TERMINAL:
        raise NotFound(f"{shown_id(batch.id)} has no results yet: it has not ended.")
    async with aclosing(_lines(request, batch)) as lines:
        return await send_lines(request, lines, {})


def _lines(request: web.Request, batch: Batch) -> Lines:
    if batch.counts.total and batch.status is not BatchStatus.FAILED:
        return _translated(request, batch)
    return _unrun(request, batch)


async def _translated(request: web.Request, batch: Batch) -> Lines:
    window = Window(0, batch.counts.total)
    async with aclosing(reader_of(request).snapshot(batch, window)) as found:
        async for records in found:
            yield [result_line(record) for record in records]


async def _unrun(request: web.Request, batch: Batch) -> Lines:
    """Yield a line for each request of the input: there are no result files.

    Where the requests were never counted the file may hold anything, and none is told of.
    """
    if not total(batch):
        return
    result, tail = unrun_result(batch), b""
    try:
        async for chunk in request.app[BLOBS].stream(batch.input_key):
            whole, newline, tail = (tail + chunk).rpartition(b"\n")
            yield [unrun_line(line, result) for line in decode_requests(whole + newline)]
    except NotFound as exc:
        raise NotFound(
            f"The results of {shown_id(batch.id)} are gone: its requests were deleted."
        ) from exc
    yield [unrun_line(line, result) for line in decode_requests(tail)]
