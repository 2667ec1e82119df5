"""The scripted server's webhooks: endpoints, their secrets, deliveries."""

from __future__ import annotations

import itertools

from aiohttp import web
from scripted_api import SCRIPT, application, fault


def delivery_object(number=1, **fields):
    """Return a delivery as the API shows it."""
    event = {
        "id": f"evt_{number}",
        "type": "batch.completed",
        "created_at": 1_800_000_000,
        "batch_id": f"batch_{number:032x}",
    }
    return {
        "id": f"dlv_{number}",
        "object": "delivery",
        "event": event,
        "url": "https://hooks.example.com/batch?token=hidden",
        "handler": None,
        "asked_by": "endpoint",
        "state": "pending",
        "attempts": 0,
        "lines_done": None,
        "lines_total": None,
        "next_attempt_at": 1_800_000_000,
        "last_status_code": None,
        "last_error": None,
        "created_at": 1_800_000_000,
        "ended_at": None,
    } | fields


async def create(request):
    script, body = request.app[SCRIPT], await request.json()
    number = len(script.endpoints) + 1
    endpoint = {
        "id": f"we_{number}",
        "object": "webhook_endpoint",
        "signing_secret_hint": f"whsec_…{number}",
        "created_at": 1_800_000_000,
        "updated_at": 1_800_000_000,
        **body,
    }
    script.endpoints[endpoint["id"]] = endpoint
    return web.json_response(endpoint | {"signing_secret": f"whsec_first{number}"})


async def index(request):
    return page(request, list(request.app[SCRIPT].endpoints.values())[::-1])


async def show(request):
    return web.json_response(known(request))


async def delete(request):
    known(request)
    endpoint_id = request.match_info["id"]
    del request.app[SCRIPT].endpoints[endpoint_id]
    return web.json_response(
        {"id": endpoint_id, "object": "webhook_endpoint.deleted", "deleted": True}
    )


async def rotate(request):
    endpoint = known(request)
    request.app[SCRIPT].rotations.append(await request.json())
    return web.json_response(endpoint | {"signing_secret": "whsec_second"})


async def send_test(request):
    script, endpoint, body = request.app[SCRIPT], known(request), await request.json()
    result = {"object": "webhook_endpoint.test", "webhook_endpoint_id": endpoint["id"]}
    result |= {"status_code": script.receiver, "success": True}
    return web.json_response(result | body)


async def deliveries(request):
    script = request.app[SCRIPT]
    script.asked.append(request.path)
    return page(request, list(script.deliveries.values())[::-1])


async def replay(request):
    script, delivery_id = request.app[SCRIPT], request.match_info["id"]
    if delivery_id not in script.deliveries:
        return fault(404, f"No delivery found with id '{delivery_id}'.")
    script.deliveries[delivery_id] |= {"state": "pending", "attempts": 0}
    return web.json_response(script.deliveries[delivery_id])


def known(request):
    endpoint_id = request.match_info["id"]
    found = request.app[SCRIPT].endpoints.get(endpoint_id)
    if found is None:
        raise web.HTTPNotFound
    return found


def page(request, items):
    after, limit = request.query.get("after"), int(request.query["limit"])
    if after:
        items = list(itertools.dropwhile(lambda item: item["id"] != after, items))[1:]
    return web.json_response({"data": items[:limit], "has_more": len(items) > limit})


def with_webhooks(script):
    """Return the scripted server with its webhooks."""
    script.endpoints, script.deliveries, script.rotations, script.asked = {}, {}, [], []
    script.receiver = 204
    made = application(script)
    endpoints = "/v1/webhook_endpoints"
    made.add_routes(
        [
            web.post(endpoints, create),
            web.get(endpoints, index),
            web.get(f"{endpoints}/{{id}}", show),
            web.delete(f"{endpoints}/{{id}}", delete),
            web.post(f"{endpoints}/{{id}}/rotate_secret", rotate),
            web.post(f"{endpoints}/{{id}}/test", send_test),
            web.get(f"{endpoints}/{{id}}/deliveries", deliveries),
            web.get("/v1/batches/{id}/deliveries", deliveries),
            web.get("/v1/deliveries", deliveries),
            web.post("/v1/deliveries/{id}/replay", replay),
        ]
    )
    return made
