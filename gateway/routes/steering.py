"""`/v1/batches/{id}` beyond OpenAI's API: pause, resume, delete."""

from __future__ import annotations

from aiohttp import web

from batchline.api.objects.lists import DeletedObject
from batchline.errors import Conflict
from batchline.model import Batch
from batchline.states import PAUSABLE
from gateway.answers import batch_answer, json_answer
from gateway.keys import STORE, now

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
    """DELETE /v1/batches/{id}: one that has ended, with its result files, its input if it alone used it."""
    batch_id = request.match_info["batch_id"]
    if not await request.app[STORE].delete_batch(batch_id):
        batch = await request.app[STORE].get_batch(batch_id)
        if batch is None:
            raise no_such(batch_id)
        raise Conflict(
            f"Cannot delete a batch with status '{batch.status.value}': it has not ended. Cancel it "
            "first, or wait for its end."
        )
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
