"""`/v1/batches/{id}` beyond OpenAI's API: pause, resume, delete."""

from __future__ import annotations

from aiohttp import web

from batchline.api.objects.lists import DeletedObject
from batchline.errors import Conflict
from batchline.model import Batch
from batchline.states import PAUSABLE, TERMINAL
from gateway.answers import batch_answer, json_answer
from gateway.keys import SETTINGS, STORE, now

from .batches import no_such


async def pause(request: web.Request) -> web.Response:
    """POST /v1/batches/{id}/pause: nothing more is sent; what is under way is finished and kept."""
    batch_id = request.match_info["batch_id"]
    return _steered(
        request, await request.app[STORE].pause_batch(batch_id, now=now(request)), batch_id, "pause"
    )


async def resume(request: web.Request) -> web.Response:
    """POST /v1/batches/{id}/resume: takes a pause back."""
    batch_id = request.match_info["batch_id"]
    return _steered(request, await request.app[STORE].resume_batch(batch_id), batch_id, "resume")


async def delete(request: web.Request) -> web.Response:
    """DELETE /v1/batches/{id}: one that has ended goes, with its files; an open one is cancelled.

    With it go its result files, and its input if it alone used that. By setting an open one is refused.
    """
    batch_id = request.match_info["batch_id"]
    store = request.app[STORE]
    if await store.delete_batch(batch_id):
        return _deleted(batch_id)
    if not request.app[SETTINGS].delete_cancels:
        await _refuse_open(request, batch_id)
    batch = await store.cancel_batch(batch_id, now=now(request))
    if batch is None:
        raise no_such(batch_id)
    if batch.status in TERMINAL and await store.delete_batch(batch_id):  # it ended just now
        return _deleted(batch_id)
    return batch_answer(request, batch)


async def _refuse_open(request: web.Request, batch_id: str) -> None:
    batch = await request.app[STORE].get_batch(batch_id)
    if batch is None:
        raise no_such(batch_id)
    raise Conflict(
        f"Cannot delete a batch with status '{batch.status.value}': it has not ended. Cancel it "
        "first, or wait for its end."
    )


def _deleted(batch_id: str) -> web.Response:
    return json_answer(DeletedObject(id=batch_id, object="batch"))


def _steered(request: web.Request, batch: Batch | None, batch_id: str, verb: str) -> web.Response:
    if batch is None:
        raise no_such(batch_id)
    if batch.status not in PAUSABLE:
        raise Conflict(
            f"Cannot {verb} a batch with status '{batch.status.value}': it has no request left to "
            "send."
        )
    return batch_answer(request, batch)
