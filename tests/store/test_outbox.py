"""`Outbox`: events, and their deliveries under leases. Docstrings are the contract's sentences."""

from __future__ import annotations

import asyncio
import re

import pytest
from hooks import (
    GIVEN_UP,
    ORIGIN,
    TAKEN,
    TO_SETTING,
    TTL_S,
    address,
    again_at,
    claim,
    deliveries,
    ended,
    endpoint,
    events,
    one_delivery,
)
from steps import DAY, HOUR, NOW, finish, leases, prune_all, settle

from batchline.model import Fault, NewBatch
from batchline.states import BatchStatus
from batchline.webhooks.records import (
    Ask,
    DeliveryState,
    EventType,
    OutboxFigures,
    Standing,
)

FAULT = Fault("x", "y")


async def reject(store, make_batch):
    return await ended(store, make_batch, now=NOW + 1), EventType.FAILED


async def break_off(store, make_batch):
    batch = await make_batch(lines=4)
    await store.break_batch(batch, FAULT, now=NOW + 1)
    return batch, EventType.FAILED


async def complete(store, make_batch):
    batch = await make_batch(lines=4)
    await finish(store, batch, now=NOW + 1)
    return batch, EventType.COMPLETED


async def expire(store, make_batch):
    batch = await make_batch(lines=4, expires_in_s=1)
    await store.lapse(now=NOW + 1)
    await store.close(batch, BatchStatus.EXPIRED, output=None, error=None, now=NOW + 1)
    return batch, EventType.EXPIRED


async def cancel(store, make_batch):
    batch = await make_batch(lines=4)
    return await cancelled(store, batch), EventType.CANCELLED


async def cancel_before_it_ran(store, make_batch):
    return await cancelled(store, await make_batch()), EventType.CANCELLED


async def break_while_cancelling(store, make_batch):
    batch = await make_batch(lines=4)
    await store.cancel_batch(batch.id, now=NOW)
    await store.break_batch(batch, FAULT, now=NOW + 1)
    return batch, EventType.FAILED


async def cancelled(store, batch):
    await store.cancel_batch(batch.id, now=NOW + 1)
    await store.close(batch, BatchStatus.CANCELLED, output=None, error=None, now=NOW + 1)
    return batch


ENDS = [reject, break_off, complete, expire, cancel, cancel_before_it_ran, break_while_cancelling]


@pytest.mark.parametrize("end", ENDS)
async def test_each_end_of_a_batch_is_an_event(store, make_batch, end):
    """An event is there as soon as its batch has ended, whoever ended it, and once.

    Whatever is tried with the batch afterwards.
    """
    await make_batch(lines=4)
    batch, event_type = await end(store, make_batch)
    (event,) = await events(store)
    await store.cancel_batch(batch.id, now=NOW + 2)
    for status in (BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED):
        await store.close(batch, status, output=None, error=None, now=NOW + 2)
    await store.break_batch(batch, FAULT, now=NOW + 2)
    await store.lapse(now=NOW + DAY)

    assert (event.type, event.batch_id, event.created_at) == (event_type, batch.id, NOW + 1)
    assert await events(store) == []


async def test_a_batch_that_has_not_ended_is_no_event(store, make_batch):
    """Nothing is told before it is true."""
    await make_batch()
    batch, cancelling, lapsed = [await make_batch(lines=4, expires_in_s=9) for _ in range(3)]
    await store.cancel_batch(cancelling.id, now=NOW)
    await store.pause_batch(batch.id, now=NOW)
    await store.resume_batch(batch.id)
    await settle(store, batch, (await leases(store, batch))[0])
    await store.lapse(now=NOW + 9)

    assert (await store.get_batch(lapsed.id)).status is BatchStatus.FINALIZING
    assert await events(store) == []


async def test_the_end_of_a_response_is_no_event(store):
    """Those who are told know batches by their ids, and responses not at all."""
    new = NewBatch("batch_h", "/v1/x", "file-h", "files/h", "24h", NOW, NOW + 9, is_response=True)
    hidden = await store.add_batch(new)

    assert await store.reject(hidden, [FAULT], now=NOW)

    assert await events(store) == []


async def test_ids_of_events_are_their_own(store, make_batch):
    """A receiver knows a repeated one by it."""
    for _ in range(20):
        await ended(store, make_batch)

    ids = [event.id for event in await events(store)]

    assert len(set(ids)) == len(ids) == 20
    assert all(re.fullmatch(r"evt_[0-9a-f]{32}", one) for one in ids)


async def test_a_batch_that_was_repaired_is_told_once(engine, make_batch, store):
    """A repair opens a batch only before its end."""
    batch = await make_batch(lines=4)
    await settle(store, batch, (await leases(store, batch))[0])
    (segment,) = await store.segments(batch)
    async with engine.mending() as mending:
        await mending.recount(batch, without=[segment.number], now=NOW)
        reopened = (await mending.get_batch(batch.id)).status
        before = await events(mending)
        await finish(mending, batch)
        told = await events(mending)
        await mending.recount(batch, without=[], now=NOW)

    assert (reopened, before) == (BatchStatus.IN_PROGRESS, [])
    assert [event.type for event in told] == [EventType.COMPLETED]
    assert await events(store) == []


@pytest.mark.parametrize("is_addressed", [False, True])
@pytest.mark.parametrize("way", ["deleted", "old"])
async def test_the_end_of_a_forgotten_batch_is_told(store, make_batch, way, is_addressed):
    """It is told also if its batch is forgotten.

    By its client, or by housekeeping at its age: a receiver may have been down for as long.
    """
    batch = await ended(store, make_batch, callback_url="https://back.example/")
    if is_addressed:
        await address(store)
    if way == "deleted":
        await store.delete_batch(batch.id)
    else:
        await prune_all(store)
        assert await store.drop_batches(ended_before=NOW, limit=9) == 1

    await address(store)
    (claimed,) = await claim(store)

    assert await store.get_batch(batch.id) is None
    assert claimed.delivery.event.batch_id == batch.id
    assert claimed.delivery.url == "https://back.example/"


async def test_events_are_addressed_in_the_order_in_which_they_happened(store, make_batch):
    """Make the deliveries of up to `limit` events, first those that happened first; return how many."""
    batches = [await make_batch() for _ in range(3)]
    for batch in reversed(batches):
        await store.reject(batch, [FAULT], now=NOW - batch.seq)

    done = [await address(store, standing=TO_SETTING, limit=2) for _ in range(3)]

    assert done == [2, 1, 0]
    told = [delivery.event.batch_id for delivery in await deliveries(store)]
    assert told == [batch.id for batch in reversed(batches)]


async def test_each_who_asked_gets_a_delivery(store, make_batch):
    """Under the same id."""
    wants_it = endpoint("a", event_types=[EventType.FAILED])
    await store.add_endpoint(wants_it)
    await store.add_endpoint(endpoint("b", event_types=[EventType.COMPLETED, EventType.EXPIRED]))
    batch = await ended(store, make_batch, callback_url="https://back.example/")

    await address(store, now=NOW + 5, standing=TO_SETTING)

    made = await deliveries(store)
    assert [(told.ask, told.endpoint_id, told.url) for told in made] == [
        (Ask.ENDPOINT, "we_a", wants_it.url),
        (Ask.SETTING, None, TO_SETTING[0].url),
        (Ask.BATCH, None, "https://back.example/"),
    ]
    assert {(t.event.batch_id, t.event.type) for t in made} == {(batch.id, EventType.FAILED)}
    assert len({told.event.id for told in made}) == 1
    assert {(t.state, t.attempts, t.due_at, t.since) for t in made} == {
        (DeliveryState.PENDING, 0, NOW + 5, NOW + 5)
    }


async def test_batches_are_not_called_back_where_nothing_signs_that(store, make_batch):
    """The event is done with all the same."""
    await ended(store, make_batch, callback_url="https://back.example/")

    assert await address(store, calls_back=False) == 1

    assert await deliveries(store) == []
    assert await address(store) == 0


async def test_a_receiver_gets_an_event_once_for_each_who_asked(store, make_batch):
    """A receiver gets an event once for each who asked."""
    url = TO_SETTING[0].url
    for name in "ab":
        await store.add_endpoint(endpoint(name, url=url))
    await ended(store, make_batch, callback_url=url)

    await address(store, standing=[Standing(url), Standing(url)])

    asked = [(told.ask, told.endpoint_id) for told in await deliveries(store)]
    assert asked == [
        (Ask.ENDPOINT, "we_a"),
        (Ask.ENDPOINT, "we_b"),
        (Ask.SETTING, None),
        (Ask.BATCH, None),
    ]


async def test_two_who_address_at_once_make_each_delivery_once(engine, store, make_batch):
    """Several deliverers may run."""
    for _ in range(10):
        await ended(store, make_batch)
    async with engine.open() as other:
        done = await asyncio.gather(
            *(address(one, standing=TO_SETTING, limit=3) for one in (store, other) * 4)
        )

    assert sum(done) == 10
    assert len(await deliveries(store)) == 10


async def test_what_is_due_is_claimed_first_that_due_first(store, make_batch):
    """Lease up to `limit` pending deliveries that are due, first those due first."""
    for _ in range(2):
        await ended(store, make_batch)
    await address(store, standing=[*TO_SETTING, Standing("https://other.example/")])
    first, second, third, fourth = await claim(store)
    for claimed, due_at in ((first, NOW + 30), (second, NOW + 20), (third, NOW + 10)):
        await store.record_attempt(claimed, again_at(due_at), now=NOW)
    await store.record_attempt(fourth, TAKEN, now=NOW)

    assert await claim(store, now=NOW + 9) == []
    some = await claim(store, now=NOW + 30, limit=2)
    rest = await claim(store, now=NOW + 30)

    numbers = [one.delivery.number for one in (third, second, first)]
    assert [one.delivery.number for one in some + rest] == numbers
    assert len(some) == 2


async def test_receivers_that_are_busy_are_passed_over(store, make_batch):
    """None to an origin in `but` (scheme, host and port of its URL)."""
    urls = ["https://ONE.example/a", "https://one.example:8443/b", "http://one.example/c"]
    for name, url in zip("abc", urls, strict=True):
        await store.add_endpoint(endpoint(name, url=url))
    await ended(store, make_batch)
    await address(store)

    found = await claim(store, but=[ORIGIN, "http://one.example:80"])

    assert [one.delivery.url for one in found] == [urls[1]]


async def test_two_who_claim_at_once_get_different_deliveries(engine, store, make_batch):
    """Each has its lease."""
    for _ in range(8):
        await ended(store, make_batch)
    await address(store, standing=TO_SETTING)
    async with engine.open() as other:
        found = await asyncio.gather(*(claim(one, limit=2) for one in (store, other) * 4))

    numbers = [one.delivery.number for some in found for one in some]
    assert sorted(numbers) == [made.number for made in await deliveries(store)]


async def test_claims_have_tokens_and_the_secrets_of_the_endpoint(store, make_batch):
    """Each claim has a token that no claim of that delivery had before."""
    made = await one_delivery(store, make_batch)
    await ended(store, make_batch)
    await address(store, standing=TO_SETTING)
    tokens = []
    for _ in range(3):
        claimed, *others = await claim(store)
        tokens.append(claimed.token)
        for one in (claimed, *others):
            await store.record_attempt(one, again_at(NOW), now=NOW)

    assert claimed.delivery.number == made.number
    assert tokens == sorted(set(tokens))
    assert [one.secrets for one in (claimed, *others)] == [["whsec_a"], ["whsec_a"], []]


async def test_a_lease_lapses_with_its_process(store, make_batch, clock):
    """A lease that has lapsed is open again."""
    await one_delivery(store, make_batch)
    (first,) = await claim(store)

    clock.advance(TTL_S - 1)
    early = await claim(store)
    clock.advance(1)
    (second,) = await claim(store)

    assert early == []
    assert second.delivery == first.delivery
    assert second.token > first.token


async def test_who_lost_the_lease_notes_nothing(store, make_batch, clock):
    """False if the delivery was claimed anew, replayed or given up meanwhile: nothing is noted."""
    await one_delivery(store, make_batch)
    (lost,) = await claim(store)
    clock.advance(TTL_S)
    (held,) = await claim(store)

    noted = await store.record_attempt(lost, TAKEN, now=NOW)
    (unchanged,) = await deliveries(store)

    assert not noted
    assert unchanged == held.delivery
    assert await store.record_attempt(held, again_at(NOW), now=NOW)


async def test_a_lapsed_lease_that_nobody_took_is_its_holders(store, make_batch, clock):
    """What was taken is noted, though late: else it would be sent twice."""
    await one_delivery(store, make_batch)
    (claimed,) = await claim(store)
    clock.advance(TTL_S * 2)

    assert await store.record_attempt(claimed, TAKEN, now=NOW)

    assert await claim(store) == []


@pytest.mark.parametrize("attempted", [TAKEN, GIVEN_UP, again_at(NOW + 9)], ids=str)
async def test_what_came_of_an_attempt_is_noted(store, make_batch, attempted):
    """Note what came of an attempt and end its lease."""
    await one_delivery(store, make_batch)
    (claimed,) = await claim(store)

    assert await store.record_attempt(claimed, attempted, now=NOW + 3)

    (told,) = await deliveries(store)
    is_over = attempted.state is not DeliveryState.PENDING
    assert (told.state, told.attempts) == (attempted.state, 1)
    assert (told.last_status, told.last_error) == (attempted.status, attempted.error)
    assert told.ended_at == (NOW + 3 if is_over else None)
    assert len(await claim(store, now=NOW + 9)) == (0 if is_over else 1)
    assert not await store.record_attempt(claimed, TAKEN, now=NOW + 9)


async def test_what_waited_too_long_is_given_up_without_an_attempt(store, make_batch):
    """Give up at most `limit` deliveries that were made, or replayed, before; return how many.

    None that is leased. They may have come to no attempt: their receiver is left alone, and has many.
    """
    for number in range(5):
        await ended(store, make_batch)
        await address(store, now=NOW + number, standing=TO_SETTING)
    first, second, third, *_ = await deliveries(store)
    (leased,) = await claim(store, now=NOW + 9, limit=1)
    (failed,) = await claim(store, now=NOW + 9, limit=1)
    await store.record_attempt(failed, again_at(NOW + 9), now=NOW)
    await store.replay_delivery(third.number, now=NOW + 9)

    async def give_up():
        return await store.give_up_late(made_before=NOW + 4, now=NOW + 99, limit=1)

    done = [await give_up() for _ in range(3)]

    log = {told.number: told for told in await deliveries(store)}
    given_up = [told for told in log.values() if told.state is DeliveryState.GIVEN_UP]
    assert (leased.delivery.number, failed.delivery.number) == (first.number, second.number)
    assert done == [1, 1, 0]
    assert [(told.number, told.attempts) for told in given_up] == [
        (second.number, 1),
        (third.number + 1, 0),
    ]
    assert [told.last_error for told in given_up] == [
        "No answer within 10 s.",
        "Nothing was attempted in its time: its receiver was left alone, or its handler runs nowhere.",
    ]
    assert {told.ended_at for told in given_up} == {NOW + 99}
    assert await store.record_attempt(leased, TAKEN, now=NOW + 99)


async def test_the_figures_tell_what_waits_and_since_when(store, make_batch):
    """Return what the outbox holds."""
    empty = await store.outbox_figures()
    for number in range(4):
        await ended(store, make_batch)
        await address(store, now=NOW + number, standing=TO_SETTING)
    first, _, _, last = await claim(store, now=NOW + 9)
    await store.record_attempt(first, TAKEN, now=NOW)
    await store.record_attempt(last, GIVEN_UP, now=NOW)

    assert empty == OutboxFigures(pending=0, oldest_since=None, given_up=0)
    assert await store.outbox_figures() == OutboxFigures(2, NOW + 1, 1)


async def test_what_ended_long_ago_is_forgotten_a_few_at_a_time(store, make_batch):
    """Forget up to `limit` deliveries that ended by then, and events left without any; return how many."""
    for _ in range(3):
        await ended(store, make_batch)
    await address(store, standing=TO_SETTING)
    for claimed, at in zip(await claim(store), (NOW, NOW + 1, NOW + 2), strict=True):
        await store.record_attempt(claimed, GIVEN_UP if at == NOW else TAKEN, now=at)

    async def forget(before):
        return await store.forget_deliveries(ended_before=before, limit=2)

    done = [await forget(NOW - 1), await forget(NOW + 1), await forget(NOW + 1)]
    left = await deliveries(store)

    assert done == [0, 2, 2]  # two deliveries, then their events
    assert [told.ended_at for told in left] == [NOW + 2]
    assert [await forget(NOW + 1), await forget(NOW + 2), await forget(NOW + 2)] == [0, 2, 0]


async def test_what_is_not_done_with_is_kept(store, make_batch):
    """An event that happened after `ended_before`, or that is not addressed, is kept."""
    await store.add_endpoint(endpoint())
    await ended(store, make_batch)
    await address(store)  # pending
    await ended(store, make_batch)
    forgotten = await store.forget_deliveries(ended_before=NOW + HOUR, limit=9)
    await address(store)
    both = await deliveries(store)

    for claimed in await claim(store):
        await store.record_attempt(claimed, TAKEN, now=NOW - 9)
    late = await store.forget_deliveries(ended_before=NOW - 1, limit=9)
    replayed = await store.replay_delivery(both[0].number, now=NOW)

    assert (forgotten, len(both)) == (0, 2)
    assert (late, replayed) == (2, None)
    assert await store.forget_deliveries(ended_before=NOW, limit=9) == 2  # now the events


async def test_an_event_that_nobody_wanted_is_forgotten_at_its_age(store, make_batch):
    """Else the outbox would grow for ever where nobody listens."""
    await ended(store, make_batch, now=NOW + 7)
    await address(store)

    young = await store.forget_deliveries(ended_before=NOW + 6, limit=9)
    old = await store.forget_deliveries(ended_before=NOW + 7, limit=9)

    assert (young, old) == (0, 1)
