"""`/v1/responses`, and in the background: create, show, cancel, delete.

A response in the background is a batch of one request: the dispatcher runs it, and it outlives every process.
What is not in the background is an interactive request like any other.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import AsyncExitStack
from functools import partial

import msgspec
from aiohttp import web

from batchline.api.bodies import DEFAULT_WINDOW, BatchRequest
from batchline.api.completion_window import window_seconds
from batchline.api.objects.lists import DeletedObject
from batchline.api.parameters import shown
from batchline.errors import Conflict, Invalid, NotFound
from batchline.model import Batch
from batchline.states import OnFailures
from gateway.answers import json_answer, write
from gateway.idempotency.by_key import HEADER, read_key
from gateway.keys import BLOBS, SETTINGS, STORE, now
from gateway.new_batches.input_writer import new_input
from gateway.new_batches.received import SECOND_PASSES, Asked
from gateway.routes import proxy
from gateway.routes.create_batch import Headers, made
from gateway.transfer.simultaneous_downloads import DOWNLOADS
from gateway.transfer.spooled_body import HeldBody

from . import finished_response
from .background_request import (
    ENDPOINT,
    BackgroundRequest,
    is_background,
    read_background_request,
)

_NAME = "response.jsonl"  # of the input
_QUICK_BYTES = 1 << 14  # what is decoded in the event loop: more goes to a thread


async def create(request: web.Request) -> web.StreamResponse:
    """POST /v1/responses: answered by the model server, or queued if `background` is true.

    The same request under the same Idempotency-Key is the same response, and so is one that a client repeats.
    """
    async with proxy.received(request) as body:
        if not await body.look(is_background):
            return await proxy.pass_on(request, body)
        batch, headers = await _made(request, body)
    return await _answer(request, batch, headers)


async def show(request: web.Request) -> web.StreamResponse:
    """GET /v1/responses/{id}."""
    if request.query.get("stream", "false") != "false":
        raise Invalid(
            "A response in the background cannot be streamed. Ask again without 'stream'.",
            param="stream",
            code="unsupported_value",
        )
    return await _answer(request, await _named(request))


async def cancel(request: web.Request) -> web.StreamResponse:
    """POST /v1/responses/{id}/cancel: one that has ended stays as it is."""
    batch = await _named(request)
    cancelled = await request.app[STORE].cancel_batch(batch.id, now=now(request))
    if cancelled is None:
        raise _no_such(request)
    return await _answer(request, cancelled)


async def delete(request: web.Request) -> web.Response:
    """DELETE /v1/responses/{id}: the response goes, with what was asked. An open one is refused."""
    batch = await _named(request)
    if not await request.app[STORE].delete_batch(batch.id):
        raise Conflict("Cannot delete a response that has not ended. Cancel it first.")
    return json_answer(DeletedObject(id=finished_response.response_id(batch), object="response"))


async def _made(request: web.Request, body: HeldBody) -> tuple[Batch, Headers]:
    """Make the response, or find the one that an earlier attempt made."""
    key = read_key(request.headers.getall(HEADER, ()))
    read = partial(read_background_request, request.app[SETTINGS].body_rules)
    async with AsyncExitStack() as undo, request.app[SECOND_PASSES]:
        wanted = await body.look(read)
        async with new_input(request) as written:
            await written.put(wanted.line)
            await written.commit()
        file = written.made(_NAME)
        undo.push_async_callback(request.app[BLOBS].delete, file.key)
        digest = hashlib.sha256(wanted.line).hexdigest()
        asked = Asked(
            _as_batch(wanted),
            msgspec.json.encode({"response": digest}),
            file,
            response_model=wanted.model,
        )
        return await made(request, asked, key, undo)


def _as_batch(wanted: BackgroundRequest) -> BatchRequest:
    return BatchRequest(
        input_file_id=None,
        endpoint=ENDPOINT,
        completion_window=DEFAULT_WINDOW,
        window_s=window_seconds(DEFAULT_WINDOW, lowest_s=0),
        metadata=wanted.metadata,
        output_expires_after_s=None,
        on_failures=OnFailures.CONTINUE,  # one request is no trend
        callback_url=None,
    )


async def _named(request: web.Request) -> Batch:
    """Return the batch of the response that the path names. Raises NotFound."""
    batch_id = finished_response.batch_id(request.match_info["response_id"])
    batch = batch_id and await request.app[STORE].get_batch(batch_id)
    if not batch or not batch.is_response:
        raise _no_such(request)
    return batch


def _no_such(request: web.Request) -> NotFound:
    return NotFound(
        f"No response found with id '{shown(request.match_info['response_id'])}'. Only responses "
        "that were asked for in the background are kept."
    )


async def _answer(
    request: web.Request, batch: Batch, headers: Headers | None = None
) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    response.content_type = "application/json"
    if not finished_response.has_answer(batch):
        text = finished_response.unanswered(batch)
        return web.Response(body=text, content_type="application/json", headers=headers)
    with request.app[DOWNLOADS].one():
        record = await _record(request, batch)
        is_quick = len(record) <= _QUICK_BYTES
        shape = finished_response.answered
        text = shape(batch, record) if is_quick else await asyncio.to_thread(shape, batch, record)
        del record
        response.content_length = len(text)
        await response.prepare(request)
        await write(response, text)
        await response.write_eof()
    return response


async def _record(request: web.Request, batch: Batch) -> bytes:
    """Read the result line of a response that has ended. Raises NotFound."""
    file_id = batch.output_file_id or batch.error_file_id or ""
    file = await request.app[STORE].get_file(file_id, now=now(request))
    if file is None:
        raise NotFound(
            f"What response '{finished_response.response_id(batch)}' answered has expired or was "
            "deleted."
        )
    try:
        return (await request.app[BLOBS].read_many([(file.blob_key, 0, file.bytes)]))[0]
    except NotFound as exc:  # its message names the blob, which clients must not see
        raise NotFound(f"The bytes of file {file.id} are gone.", param="id") from exc
