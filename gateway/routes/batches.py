"""`/v1/batches`: list, show, cancel; `create_batch.py` creates. The dispatcher runs the batches."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from batchline.api.objects.lists import batch_list
from batchline.api.parameters import shown
from batchline.errors import Conflict, NotFound
from batchline.failing import is_failing
from batchline.model import Batch, FleetReport
from batchline.states import BatchStatus
from gateway.answers import batch_answer, json_answer
from gateway.keys import STORE, now
from gateway.paging import BATCHES, page_query, status_query

_TOO_LATE = frozenset({BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED})
"""Final statuses in which a cancel is an error; `cancelled` is none of them."""


async def index(request: web.Request) -> web.Response:
    """GET /v1/batches, newest first; with `status`, of those only."""
    query = page_query(request.query, BATCHES)
    page = await request.app[STORE].list_batches(
        after=query.after, limit=query.limit, statuses=status_query(request.query)
    )
    if page is None:
        raise NotFound(f"No batch found with id '{shown(query.after)}'.", param="after")
    return json_answer(batch_list(page, await _report_on(request, page.items)))


async def show(request: web.Request) -> web.Response:
    """GET /v1/batches/{id}."""
    batch = await named_batch(request)
    return batch_answer(request, batch, report=await _report_on(request, [batch]))


async def _report_on(request: web.Request, batches: Iterable[Batch]) -> FleetReport | None:
    """Read the last report if it concerns one of these batches."""
    return await request.app[STORE].fleet_report() if any(map(is_failing, batches)) else None


async def named_batch(request: web.Request) -> Batch:
    """Return the batch that the path names. Raises NotFound."""
    batch_id = request.match_info["batch_id"]
    batch = await request.app[STORE].get_batch(batch_id)
    if batch is None:
        raise no_such(batch_id)
    return batch


async def cancel(request: web.Request) -> web.Response:
    """POST /v1/batches/{id}/cancel: takes no body, whatever its content type says."""
    return batch_answer(request, await cancelled(request, request.match_info["batch_id"]))


async def cancelled(request: web.Request, batch_id: str) -> Batch:
    """Cancel the batch and return it. Raises NotFound; Conflict if it ended in another way."""
    batch = await request.app[STORE].cancel_batch(batch_id, now=now(request))
    if batch is None:
        raise no_such(batch_id)
    if batch.status in _TOO_LATE:
        raise Conflict(f"Cannot cancel a batch with status '{batch.status.value}'.")
    return batch


def no_such(batch_id: str) -> NotFound:
    """Say that there is no such batch."""
    return NotFound(f"No batch found with id '{shown(batch_id)}'.")
