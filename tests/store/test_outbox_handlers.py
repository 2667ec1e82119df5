"""`Outbox`: deliveries to handlers of results. Docstrings are the contract's sentences."""

from __future__ import annotations

import pytest
from hooks import (
    GIVEN_UP,
    TAKEN,
    TTL_S,
    address,
    again_at,
    claim,
    deliveries,
    ended,
    one_delivery,
)
from steps import NOW

from batchline.webhooks.records import EventType, Standing, handler_url

MINE = handler_url("mine")


@pytest.fixture
async def claimed(store, make_batch):
    """Return a delivery to a handler, leased."""
    await ended(store, make_batch)
    await address(store, standing=[Standing(MINE)])
    (found,) = await claim(store, handlers=[MINE])
    return found


async def keep(store, claimed, *, lines_done=7, checkpoint=b'{"at":7}', ttl_s=TTL_S):
    return await store.keep_delivery(
        claimed, lines_done=lines_done, checkpoint=checkpoint, ttl_s=ttl_s
    )


async def test_events_go_to_those_who_want_them(store, make_batch):
    """By type and by metadata.

    Each goes to the endpoints that want its type, to those of `standing` that want it, and with
    `calls_back` to where its batch asked for it.
    """
    standing = [
        Standing(MINE, (EventType.FAILED,), {"team": "a"}),
        Standing(handler_url("other"), (EventType.COMPLETED,)),
    ]
    wanted = await ended(store, make_batch, metadata={"team": "a", "more": "b"})
    for metadata in ({"team": "b"}, None):
        await ended(store, make_batch, metadata=metadata)

    await address(store, standing=standing)

    (made,) = await deliveries(store)
    assert (made.url, made.handler, made.event.batch_id) == (MINE, "mine", wanted.id)


async def test_only_whoever_runs_a_handler_claims_for_it(store, make_batch):
    """The others leave it to them.

    None to an origin in `but` (scheme, host and port of its URL), and to handlers only if their URL is
    in `handlers`.
    """
    await ended(store, make_batch)
    await address(store, standing=[Standing(MINE), Standing(handler_url("other"))])

    nothing = await claim(store)
    busy = await claim(store, handlers=[MINE], but=[MINE])
    (found,) = await claim(store, handlers=[MINE])

    assert (nothing, busy, found.delivery.url) == ([], [], MINE)


async def test_progress_is_kept_and_the_lease_renewed(store, claimed, clock):
    """Renew a lease, and note how far the handler came."""
    clock.advance(TTL_S - 1)
    kept = await keep(store, claimed)
    clock.advance(TTL_S - 1)
    held = await claim(store, handlers=[MINE])
    clock.advance(1)
    (again,) = await claim(store, handlers=[MINE])

    assert (kept, held) == (True, [])
    assert (again.delivery.lines_done, again.checkpoint) == (7, b'{"at":7}')


@pytest.mark.parametrize("meanwhile", ["claimed anew", "replayed", "given up"])
async def test_who_lost_it_keeps_nothing(store, claimed, clock, meanwhile):
    """False if the delivery was claimed anew, replayed or given up meanwhile: nothing is noted."""
    match meanwhile:
        case "claimed anew":
            clock.advance(TTL_S)
            await claim(store, handlers=[MINE])
        case "replayed":
            await store.replay_delivery(claimed.delivery.number, now=NOW)
        case _:
            await store.record_attempt(claimed, GIVEN_UP, now=NOW)

    assert not await keep(store, claimed)
    assert [one.lines_done for one in await deliveries(store)] == [0]


async def test_a_replay_begins_anew(store, claimed):
    """A handler gets all results again."""
    await keep(store, claimed)
    await store.record_attempt(claimed, TAKEN, now=NOW)

    replayed = await store.replay_delivery(claimed.delivery.number, now=NOW)
    (again,) = await claim(store, handlers=[MINE])

    assert replayed.lines_done == 0
    assert (again.checkpoint, again.deaths) == (None, 0)


async def test_deaths_in_a_row_are_counted_by_who_attempts(store, claimed):
    """The next attempt finds what the last one noted."""
    attempted = again_at(NOW)
    await store.record_attempt(claimed, type(attempted)(attempted.state, NOW, deaths=3), now=NOW)

    (again,) = await claim(store, handlers=[MINE])

    assert again.deaths == 3


async def test_receivers_of_webhooks_have_no_handler(store, make_batch):
    """A name of a handler is no URL."""
    assert (await one_delivery(store, make_batch)).handler is None
