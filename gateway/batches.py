"""`/v1/batches`: create, list, show, cancel. The work itself is the dispatcher's."""

from __future__ import annotations

from aiohttp import web

from batchline.bodies import read_batch_request
from batchline.errors import Conflict, Invalid, NotFound
from batchline.model import File, NewBatch, new_batch_id
from batchline.parameters import shown
from batchline.states import BatchStatus
from batchline.wire import batch_list, batch_object

from .answers import json_answer
from .body import read_body
from .files import BATCH
from .keys import STORE, now
from .paging import BATCHES, page_query

_TOO_LATE = frozenset({BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED})
"""Ends that a cancel cannot change; cancelling what is cancelled is no error."""


async def create(request: web.Request) -> web.Response:
    """POST /v1/batches: checks the body, adds the batch and returns; lines are read later."""
    wanted = read_batch_request(await read_body(request))
    file = await _input_file(request, wanted.input_file_id)
    created_at = now(request)
    batch = await request.app[STORE].add_batch(
        NewBatch(
            id=new_batch_id(),
            endpoint=wanted.endpoint,
            input_file_id=file.id,
            input_key=file.blob_key,
            completion_window=wanted.completion_window,
            created_at=created_at,
            expires_at=created_at + wanted.window_s,
            metadata=wanted.metadata,
            output_expires_after_s=wanted.output_expires_after_s,
        )
    )
    return json_answer(batch_object(batch))


async def _input_file(request: web.Request, file_id: str) -> File:
    file = await request.app[STORE].get_file(file_id, now=now(request))
    if file is None:
        raise Invalid(
            f"Cannot find file {shown(file_id)}, or it has expired or was deleted.", param="file_id"
        )
    if file.purpose != BATCH:
        raise Invalid(
            f"Cannot use file {file_id}: its purpose is '{file.purpose}', but the input of a batch "
            f"must be uploaded with purpose '{BATCH}'.",
            param="file_id",
        )
    return file


async def index(request: web.Request) -> web.Response:
    """GET /v1/batches, newest first."""
    query = page_query(request.query, BATCHES)
    page = await request.app[STORE].list_batches(after=query.after, limit=query.limit)
    if page is None:
        raise NotFound(f"No batch found with id '{query.after}'.", param="after")
    return json_answer(batch_list(page))


async def show(request: web.Request) -> web.Response:
    """GET /v1/batches/{id}."""
    batch_id = request.match_info["batch_id"]
    batch = await request.app[STORE].get_batch(batch_id)
    if batch is None:
        raise _no_such(batch_id)
    return json_answer(batch_object(batch))


async def cancel(request: web.Request) -> web.Response:
    """POST /v1/batches/{id}/cancel: takes no body, whatever its content type says."""
    batch_id = request.match_info["batch_id"]
    batch = await request.app[STORE].cancel_batch(batch_id, now=now(request))
    if batch is None:
        raise _no_such(batch_id)
    if batch.status in _TOO_LATE:
        raise Conflict(f"Cannot cancel a batch with status '{batch.status.value}'.")
    return json_answer(batch_object(batch))


def _no_such(batch_id: str) -> NotFound:
    return NotFound(f"No batch found with id '{batch_id}'.")
