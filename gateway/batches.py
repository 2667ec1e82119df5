"""`/v1/batches`: create, list, show, cancel. The work itself is the dispatcher's."""

from __future__ import annotations

from aiohttp import web

from batchline.bodies import BatchRequest, read_batch_request
from batchline.errors import Conflict, Invalid, NotFound
from batchline.model import Batch, File, NewBatch, new_batch_id
from batchline.parameters import shown
from batchline.states import BatchStatus
from batchline.wire import batch_list, batch_object

from .answers import json_answer
from .body import read_body
from .forms import BATCH
from .keys import SETTINGS, STORE, now
from .once import HEADER, REPLAYED, Once, read_key
from .paging import BATCHES, page_query, status_query

_TOO_LATE = frozenset({BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED})
"""Ends that a cancel cannot change; cancelling what is cancelled is no error."""


async def create(request: web.Request) -> web.Response:
    """POST /v1/batches: checks the body, adds the batch and returns; lines are read later.

    The same request under the same Idempotency-Key gets the same batch, whatever became of it.
    """
    body = await read_body(request)
    min_window_s = request.app[SETTINGS].min_completion_window_s
    wanted = read_batch_request(body, min_window_s=min_window_s)
    key = read_key(request.headers.getall(HEADER, ()))
    once = Once(request.app[STORE], key, body) if key is not None else None
    earlier = await once.made(now=now(request)) if once else None
    if earlier is not None:
        return json_answer(batch_object(earlier), headers=REPLAYED)
    file = await _input_file(request, wanted.input_file_id)
    new = _new_batch(wanted, file, created_at=now(request))
    if once is None:
        return json_answer(batch_object(await request.app[STORE].add_batch(new)))
    batch = await once.make(new)
    return json_answer(batch_object(batch), headers={} if batch.id == new.id else REPLAYED)


def _new_batch(wanted: BatchRequest, file: File, *, created_at: int) -> NewBatch:
    return NewBatch(
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
    """GET /v1/batches, newest first; with `status`, of those only."""
    query = page_query(request.query, BATCHES)
    page = await request.app[STORE].list_batches(
        after=query.after, limit=query.limit, statuses=status_query(request.query)
    )
    if page is None:
        raise NotFound(f"No batch found with id '{shown(query.after)}'.", param="after")
    return json_answer(batch_list(page))


async def show(request: web.Request) -> web.Response:
    """GET /v1/batches/{id}."""
    return json_answer(batch_object(await named_batch(request)))


async def named_batch(request: web.Request) -> Batch:
    """Return the batch that the path names. Raises NotFound."""
    batch_id = request.match_info["batch_id"]
    batch = await request.app[STORE].get_batch(batch_id)
    if batch is None:
        raise no_such(batch_id)
    return batch


async def cancel(request: web.Request) -> web.Response:
    """POST /v1/batches/{id}/cancel: takes no body, whatever its content type says."""
    batch_id = request.match_info["batch_id"]
    batch = await request.app[STORE].cancel_batch(batch_id, now=now(request))
    if batch is None:
        raise no_such(batch_id)
    if batch.status in _TOO_LATE:
        raise Conflict(f"Cannot cancel a batch with status '{batch.status.value}'.")
    return json_answer(batch_object(batch))


def no_such(batch_id: str) -> NotFound:
    """Say that there is no such batch."""
    return NotFound(f"No batch found with id '{shown(batch_id)}'.")
