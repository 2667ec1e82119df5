"""What the overview shows of the outbox. Docstrings are the contract's sentences."""

from __future__ import annotations

from steps import HOUR, NOW

from batchline.model import Fault
from batchline.webhooks.records import (
    Attempted,
    DeliveryState,
    Endpoint,
    EventType,
    OutboxFigures,
    OutboxOverview,
)


def endpoint(name, url, **changes):
    given = {"created_at": NOW - HOUR, "updated_at": NOW - HOUR} | changes
    return Endpoint(f"we_{name}", name, url, list(EventType), "whsec_eA==", **given)


async def end(store, batch, *, now=NOW):
    assert await store.reject(batch, [Fault("x", "y")], now=now)


async def address(store, *, now=NOW):
    await store.address_events([], calls_back=True, now=now, limit=99)


async def seen(store, limit=9):
    return (await store.overview(finished_limit=0, deliveries_limit=limit)).outbox


async def test_the_overview_shows_the_outbox(store, make_batch):
    """And the outbox, with so many of the deliveries made last, and of those that wait."""
    assert await seen(store) == OutboxOverview(newest=[], waiting=[])
    await store.add_endpoint(endpoint("a", "https://a.example/hook"))
    await store.add_endpoint(endpoint("b", "https://b.example/hook"))
    for age_s in (30, 20, 10):
        await end(store, await make_batch(), now=NOW - age_s)
        await address(store, now=NOW - age_s)

    all_of_it, two = await seen(store), await seen(store, 2)

    assert all_of_it.figures == OutboxFigures(6, NOW - 30, 0)
    assert (all_of_it.endpoints, all_of_it.unaddressed_since) == (2, None)
    assert [d.number for d in all_of_it.newest] == [6, 5, 4, 3, 2, 1]
    assert [(d.number, d.url, d.since) for d in all_of_it.waiting] == [
        (1, "https://a.example/hook", NOW - 30),
        (2, "https://b.example/hook", NOW - 30),
    ]
    assert [d.number for d in two.newest] == [6, 5]
    assert (await store.overview(finished_limit=9)).outbox.newest == []


async def test_a_receiver_whose_oldest_event_was_taken_waits_since_the_next(store, make_batch):
    """The one that waits longest comes first; what has ended does not wait."""
    await store.add_endpoint(endpoint("a", "https://a.example/hook"))
    await store.add_endpoint(endpoint("b", "https://b.example/hook"))
    for age_s in (30, 20):
        await end(store, await make_batch(), now=NOW - age_s)
        await address(store, now=NOW - age_s)
    (first,) = await store.claim_deliveries(now=NOW, limit=1, ttl_s=30)
    assert first.delivery.url == "https://a.example/hook"
    await store.record_attempt(first, Attempted(DeliveryState.DELIVERED, status=200), now=NOW)

    outbox = await seen(store)

    assert [(d.url, d.since) for d in outbox.waiting] == [
        ("https://b.example/hook", NOW - 30),
        ("https://a.example/hook", NOW - 20),
    ]


async def test_events_that_nobody_addresses_are_seen(store, make_batch):
    """When the oldest of them happened, and whether a batch asked for one itself."""
    await end(store, await make_batch(), now=NOW + 10)
    plain = await seen(store)
    await end(store, await make_batch(callback_url="https://c.example/hook"), now=NOW + 20)
    asked = await seen(store)
    await address(store)

    assert (plain.unaddressed_since, plain.has_callback) == (NOW + 10, False)
    assert (asked.unaddressed_since, asked.has_callback) == (NOW + 10, True)
    assert (await seen(store)).unaddressed_since is None


async def test_a_delivery_to_an_endpoint_that_is_gone_cannot_be_replayed(store, make_batch):
    """Those to a callback URL can, and those whose endpoint is there."""
    await store.add_endpoint(endpoint("a", "https://a.example/hook"))
    await store.add_endpoint(endpoint("b", "https://b.example/hook"))
    await end(store, await make_batch(callback_url="https://c.example/hook"))
    await address(store)

    assert [d.is_replayable for d in (await seen(store)).newest] == [True, True, True]
    await store.delete_endpoint("we_a", now=NOW)

    found = {d.url: d.is_replayable for d in (await seen(store)).newest}
    assert found == {
        "https://a.example/hook": False,
        "https://b.example/hook": True,
        "https://c.example/hook": True,
    }
    replayed = await store.replay_delivery(1, now=NOW)
    assert (replayed.state, replayed.is_replayable) == (DeliveryState.GIVEN_UP, False)
