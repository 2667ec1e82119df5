"""What became of deliveries, and sending one again. Beyond OpenAI's API."""

from __future__ import annotations

from aiohttp import web

from batchline.api.objects.lists import delivery_list
from batchline.api.objects.webhook import delivery_object
from batchline.api.parameters import shown
from batchline.errors import Conflict, NotFound
from batchline.store.records import Page
from batchline.webhooks.records import delivery_number
from gateway.answers import json_answer
from gateway.keys import STORE, now
from gateway.paging import WEBHOOKS, page_query

from .batches import named_batch
from .webhooks import named_endpoint


async def index(request: web.Request) -> web.Response:
    """GET /v1/deliveries: all that are kept, newest first."""
    return await _page(request)


async def of_endpoint(request: web.Request) -> web.Response:
    """GET /v1/webhook_endpoints/{id}/deliveries, newest first."""
    endpoint = await named_endpoint(request)
    return await _page(request, endpoint_id=endpoint.id)


async def of_batch(request: web.Request) -> web.Response:
    """GET /v1/batches/{id}/deliveries, newest first, whoever asked for them."""
    batch = await named_batch(request)
    return await _page(request, batch_id=batch.id)


async def replay(request: web.Request) -> web.Response:
    """POST /v1/deliveries/{id}/replay: due at once, under the id that its event always had."""
    text = request.match_info["delivery_id"]
    number = delivery_number(text)
    delivery = number and await request.app[STORE].replay_delivery(number, now=now(request))
    if not delivery:
        raise _no_such(text)
    if not delivery.is_replayable:
        raise Conflict(f"Cannot replay {text}: the webhook endpoint that it goes to was deleted.")
    return json_answer(delivery_object(delivery))


async def _page(
    request: web.Request, *, endpoint_id: str | None = None, batch_id: str | None = None
) -> web.Response:
    query = page_query(request.query, WEBHOOKS)
    before = None if query.after is None else delivery_number(query.after)
    if query.after is not None and before is None:
        raise _no_such(query.after, param="after")
    found = await request.app[STORE].list_deliveries(
        endpoint_id=endpoint_id, batch_id=batch_id, before=before, limit=query.limit + 1
    )
    page = Page(found[: query.limit], len(found) > query.limit)
    return json_answer(delivery_list(page))


def _no_such(delivery_id: str, *, param: str | None = None) -> NotFound:
    return NotFound(
        f"No delivery found with id '{shown(delivery_id)}'; what has ended is forgotten after 7 days.",
        param=param,
    )
