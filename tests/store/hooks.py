"""What tests of webhooks in the store do again and again: endpoints, events, deliveries."""

from __future__ import annotations

from steps import NOW

from batchline.model import Fault
from batchline.webhooks.records import Attempted, DeliveryState, Endpoint, EventType, Standing

HOOK = "https://one.example/hook"
ORIGIN = "https://one.example:443"
TO_SETTING = (Standing("https://all.example/hook"),)
TTL_S = 30
TAKEN = Attempted(DeliveryState.DELIVERED, status=204)
GIVEN_UP = Attempted(DeliveryState.GIVEN_UP, status=500, error="It answered 500.")


def endpoint(name="a", *, url=HOOK, event_types=tuple(EventType), created_at=NOW):
    return Endpoint(
        f"we_{name}", name, url, list(event_types), f"whsec_{name}", created_at, created_at
    )


def again_at(due_at):
    return Attempted(DeliveryState.PENDING, due_at=due_at, error="No answer within 10 s.")


async def ended(store, make_batch, *, now=NOW, **fields):
    """Make a batch and end it."""
    batch = await make_batch(**fields)
    assert await store.reject(batch, [Fault("x", "y")], now=now)
    return batch


async def address(store, *, now=NOW, calls_back=True, standing=(), limit=99):
    return await store.address_events(standing, calls_back=calls_back, now=now, limit=limit)


async def claim(store, *, now=NOW, limit=99, ttl_s=TTL_S, **which):
    return await store.claim_deliveries(now=now, limit=limit, ttl_s=ttl_s, **which)


async def deliveries(store, **asked):
    """Return those asked for, the first made first."""
    return (await store.list_deliveries(**asked, limit=999))[::-1]


async def events(store):
    """Return the events that were not told yet, as the receiver of a setting is told them."""
    known = {told.event.id for told in await deliveries(store)}
    await address(store, standing=TO_SETTING)
    return [told.event for told in await deliveries(store) if told.event.id not in known]


async def one_delivery(store, make_batch, **fields):
    """Return a delivery to an endpoint that is registered for it."""
    await store.add_endpoint(endpoint(**fields))
    await ended(store, make_batch)
    await address(store)
    return (await deliveries(store))[-1]
