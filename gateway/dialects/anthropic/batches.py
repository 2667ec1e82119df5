"""`/v1/messages/batches`: list, show, cancel, delete. Only batches on `/v1/messages` are seen here."""

from __future__ import annotations

from aiohttp import web

from batchline.api import parameters
from batchline.api.parameters import shown
from batchline.errors import Conflict, Invalid, NotFound
from batchline.model import Batch
from gateway.answers import json_answer
from gateway.keys import STORE
from gateway.paging import MESSAGE_BATCHES
from gateway.routes.batches import cancelled

from .errors import ROOT
from .ids import own_id, shown_id
from .objects import DeletedMessageBatch, message_batch, message_batch_page

NAME = "message_batch_id"


async def index(request: web.Request) -> web.Response:
    """GET /v1/messages/batches, newest first: behind `after_id`, or just before `before_id`."""
    query = request.query
    after, before = query.get("after_id") or None, query.get("before_id") or None
    if after and before:
        raise Invalid("Give 'after_id' or 'before_id', not both.", param="before_id")
    page = await request.app[STORE].list_batches_of(
        ROOT,
        after=_cursor(after),
        before=_cursor(before),
        limit=parameters.integer_text(
            query.get("limit", str(MESSAGE_BATCHES.default)),
            param="limit",
            lowest=MESSAGE_BATCHES.lowest,
            highest=MESSAGE_BATCHES.highest,
        ),
    )
    if page is None:
        raise _no_such(after or before or "")
    return json_answer(message_batch_page(page))


async def show(request: web.Request) -> web.Response:
    """GET /v1/messages/batches/{id}."""
    return json_answer(message_batch(await named(request)))


async def cancel(request: web.Request) -> web.Response:
    """POST /v1/messages/batches/{id}/cancel: takes no body."""
    batch = await named(request)
    return json_answer(message_batch(await cancelled(request, batch.id)))


async def delete(request: web.Request) -> web.Response:
    """DELETE /v1/messages/batches/{id}: one that has ended, with its files."""
    batch = await named(request)
    if not await request.app[STORE].delete_batch(batch.id):
        await named(request)  # it may have gone just now
        raise Conflict(
            f"Cannot delete {shown_id(batch.id)}: it has not ended. Cancel it first, or wait for its end."
        )
    return json_answer(DeletedMessageBatch(id=shown_id(batch.id)))


async def named(request: web.Request) -> Batch:
    """Return the batch that the path names. Raises NotFound."""
    name = request.match_info[NAME]
    batch_id = own_id(name)
    batch = await request.app[STORE].get_batch(batch_id) if batch_id else None
    if batch is None or batch.endpoint != ROOT:
        raise _no_such(name)
    return batch


def _cursor(given: str | None) -> str | None:
    if given is None:
        return None
    return own_id(given) or given  # no batch has such an id


def _no_such(name: str) -> NotFound:
    return NotFound(f"No message batch found with id '{shown(name)}'.")
