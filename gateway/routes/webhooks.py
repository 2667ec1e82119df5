"""`/v1/webhook_endpoints`: who is told the end of batches (OpenAI API reference, Webhooks).

The deliverer tells them; only a test is sent from here.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from batchline.api.endpoint_requests import (
    read_endpoint_changes,
    read_endpoint_request,
    read_rotation,
    read_test_request,
)
from batchline.api.objects.lists import DeletedObject, endpoint_list
from batchline.api.objects.webhook import WebhookTestObject, endpoint_object, event_type_list
from batchline.api.parameters import shown
from batchline.errors import Invalid, NotFound, Unavailable
from batchline.model import new_batch_id
from batchline.webhooks.post import Answer, Poster
from batchline.webhooks.records import (
    Endpoint,
    Event,
    EventType,
    new_endpoint_id,
    new_event_id,
    new_secret,
)
from batchline.webhooks.signing import body_of, signed_headers
from gateway.answers import json_answer
from gateway.keys import SETTINGS, STORE, now
from gateway.paging import WEBHOOKS, page_query
from gateway.transfer.body import read_body

MAX_ENDPOINTS = 100  # each event is sent to all of them
MOST_TESTS = 4  # each holds a thread while its receiver's name is looked up
TESTS: web.AppKey[asyncio.Semaphore] = web.AppKey("webhook_tests")
"""The tests that are under way."""
_KEPT_S = 24 * 3600


async def create(request: web.Request) -> web.Response:
    """POST /v1/webhook_endpoints: its answer shows the secret, as no later one does."""
    networks = request.app[SETTINGS].webhook_networks
    wanted = read_endpoint_request(await read_body(request), networks=networks)
    store, at = request.app[STORE], now(request)
    if await store.count_endpoints() >= MAX_ENDPOINTS:
        raise Invalid(
            f"There are {MAX_ENDPOINTS} webhook endpoints, and no more are allowed. Delete one.",
            code="too_many_webhook_endpoints",
        )
    endpoint = Endpoint(
        id=new_endpoint_id(),
        name=wanted.name,
        url=wanted.url,
        event_types=wanted.event_types,
        secret=new_secret(),
        created_at=at,
        updated_at=at,
    )
    await store.add_endpoint(endpoint)
    return json_answer(endpoint_object(endpoint, is_secret_new=True))


async def index(request: web.Request) -> web.Response:
    """GET /v1/webhook_endpoints, newest first."""
    query = page_query(request.query, WEBHOOKS)
    page = await request.app[STORE].list_endpoints(after=query.after, limit=query.limit)
    if page is None:
        raise no_such(query.after, param="after")
    return json_answer(endpoint_list(page))


async def show(request: web.Request) -> web.Response:
    """GET /v1/webhook_endpoints/{id}."""
    return json_answer(endpoint_object(await named_endpoint(request)))


async def update(request: web.Request) -> web.Response:
    """POST /v1/webhook_endpoints/{id}: changes what the body names."""
    networks = request.app[SETTINGS].webhook_networks
    wanted = read_endpoint_changes(await read_body(request), networks=networks)
    endpoint = await request.app[STORE].update_endpoint(
        request.match_info["endpoint_id"],
        name=wanted.name,
        url=wanted.url,
        event_types=wanted.event_types,
        now=now(request),
    )
    return json_answer(endpoint_object(_found(request, endpoint)))


async def delete(request: web.Request) -> web.Response:
    """DELETE /v1/webhook_endpoints/{id}: nothing more is sent to it."""
    endpoint_id = request.match_info["endpoint_id"]
    if not await request.app[STORE].delete_endpoint(endpoint_id, now=now(request)):
        raise no_such(endpoint_id)
    return json_answer(DeletedObject(id=endpoint_id, object="webhook_endpoint.deleted"))


async def rotate_secret(request: web.Request) -> web.Response:
    """POST /v1/webhook_endpoints/{id}/rotate_secret: its answer shows the new secret."""
    keeps_old = read_rotation(await read_body(request))
    at = now(request)
    endpoint = await request.app[STORE].rotate_secret(
        request.match_info["endpoint_id"],
        secret=new_secret(),
        keep_until=at + _KEPT_S if keeps_old else None,
        now=at,
    )
    return json_answer(endpoint_object(_found(request, endpoint), is_secret_new=True))


async def test(request: web.Request) -> web.Response:
    """POST /v1/webhook_endpoints/{id}/test: sends an event of a batch that never was, at once.

    Raises Unavailable if as many as may be are under way.
    """
    kind = read_test_request(await read_body(request))
    endpoint = await named_endpoint(request)
    places = request.app[TESTS]
    if places.locked():
        raise Unavailable(f"{MOST_TESTS} tests of webhooks are under way. Ask again in a moment.")
    async with places:
        answer = await _sent(request, endpoint, kind)
    if answer.status is None:
        raise Invalid(
            f"Nothing was answered by {endpoint.url}: {answer.error}", code="webhook_unreachable"
        )
    return json_answer(
        WebhookTestObject(
            webhook_endpoint_id=endpoint.id, event_type=kind.value, status_code=answer.status
        )
    )


async def event_types(request: web.Request) -> web.Response:
    """GET /v1/webhook_event_types."""
    del request
    return json_answer(event_type_list())


async def _sent(request: web.Request, endpoint: Endpoint, kind: EventType) -> Answer:
    at = now(request)
    event = Event(new_event_id(), kind, at, new_batch_id())
    body = body_of(event)
    headers = signed_headers(event.id, body, endpoint.secrets_at(at), now=at)
    # In a thread, since it reads all certificates that this host trusts.
    poster = await asyncio.to_thread(Poster, request.app[SETTINGS].webhook_networks)
    try:
        return await poster.post(endpoint.url, body, headers)
    finally:
        await poster.close()


async def named_endpoint(request: web.Request) -> Endpoint:
    """Return the endpoint that the path names. Raises NotFound."""
    endpoint_id = request.match_info["endpoint_id"]
    return _found(request, await request.app[STORE].get_endpoint(endpoint_id))


def _found(request: web.Request, endpoint: Endpoint | None) -> Endpoint:
    if endpoint is None:
        raise no_such(request.match_info["endpoint_id"])
    return endpoint


def no_such(endpoint_id: str | None, *, param: str | None = None) -> NotFound:
    """Say that there is no such endpoint."""
    return NotFound(f"No webhook endpoint found with id '{shown(endpoint_id)}'.", param=param)
