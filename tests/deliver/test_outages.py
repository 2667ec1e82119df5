"""Outages: receivers, stores and deliverers that fail for a while; every event arrives, under one id."""

from __future__ import annotations

import asyncio
import random

import pytest
from bench import Instead, opened
from delivery_bench import LOOPBACK, DeliveryBench
from ports import free_port
from receivers import RESET, Receiver, is_signed_with, unwrapped
from waiting import turn, until

from batchline.errors import StoreUnavailable
from batchline.webhooks.post import open_poster
from batchline.webhooks.records import DeliveryState, new_secret
from deliver.receiver_circuit import MOST_AT_ONCE, OPEN_AFTER

PENDING, DELIVERED, _ = DeliveryState
LEASE_S = 30


async def test_a_receiver_down_for_ten_minutes_and_then_flaky_gets_every_event(bench):
    """Each verified by both libraries; what comes twice comes under the same id."""
    port, luck = free_port(), random.Random(13)
    endpoint = await bench.endpoint(f"http://127.0.0.1:{port}/hook")
    batches = [await bench.ended() for _ in range(25)]
    await bench.spend(600)
    assert await bench.states() == {PENDING}
    assert {d.last_error[:12] for d in await bench.deliveries() if d.last_error} == {"ConnectError"}

    events = []

    def take_some(told):
        events.append(unwrapped(told, endpoint.secret))
        return luck.choice([500, RESET, 200, 204])

    async with Receiver(port) as receiver:
        receiver.script = take_some
        batches += [await bench.ended() for _ in range(5)]
        while await bench.states() != {DELIVERED}:
            await bench.spend(60)

    assert len(events) == len(receiver.told)
    assert {event.data.id for event in events} == {batch.id for batch in batches}
    assert len(receiver.told) > len(set(receiver.ids)) == len(batches)
    assert len({(told.id, told.batch_id) for told in receiver.told}) == len(batches)
    assert sorted(told.id for told in receiver.taken) == sorted(set(receiver.ids))


async def test_no_event_is_lost_while_a_secret_is_rotated(bench, receiver):
    """For 24 hours both secrets sign, so that the receiver may change over at any time."""
    endpoint, new = await bench.endpoint(receiver.url), new_secret()
    known = endpoint.secret
    receiver.script = lambda told: 200 if is_signed_with(told, known) else 401

    for hour in range(30):
        if hour == 2:
            until_when = int(bench.clock.now()) + 86400
            await bench.store.rotate_secret(
                endpoint.id, secret=new, keep_until=until_when, now=int(bench.clock.now())
            )
        if hour == 13:
            known = new
        await bench.ended()
        await bench.round()
        bench.clock.advance(3600)

    assert len(receiver.taken) == len(receiver.told) == 30
    assert [len(told.signatures) for told in receiver.told] == [1] * 2 + [2] * 24 + [1] * 4
    assert not is_signed_with(receiver.told[-1], endpoint.secret)


async def test_an_old_secret_that_is_not_kept_signs_no_more(bench, receiver):
    """Whoever knows a stolen one can make no event."""
    endpoint, new = await bench.endpoint(receiver.url), new_secret()
    now = int(bench.clock.now())
    await bench.store.rotate_secret(endpoint.id, secret=new, keep_until=None, now=now)
    await bench.ended()

    await bench.round()

    (told,) = receiver.told
    assert is_signed_with(told, new)
    assert not is_signed_with(told, endpoint.secret)


async def test_a_receiver_that_hangs_holds_up_no_other(bench, receiver):
    """It takes few of the attempts under way; all others are told meanwhile."""
    async with Receiver() as hanging:
        hanging.script = hanging.hang
        await bench.endpoint(hanging.url)
        await bench.endpoint(receiver.url)
        for _ in range(40):
            await bench.ended()

        async def is_told():
            await bench.deliverer.step()
            return len(receiver.taken) == 40

        await until(is_told)

        assert len(hanging.told) == MOST_AT_ONCE
        assert hanging.taken == []


async def test_a_receiver_that_hangs_is_cut_off(make_bench, receiver):
    """The attempt counts as failed, in words; the event may come again."""
    bench = await make_bench(timeout_s=0.2)
    receiver.script = receiver.hang
    await bench.endpoint(receiver.url)
    await bench.ended()

    await bench.round()

    delivery = await bench.delivery()
    assert (delivery.state, delivery.last_status) == (PENDING, None)
    assert delivery.last_error == "No answer within 0.2 s."


async def test_a_receiver_that_fails_again_and_again_is_left_alone(bench, receiver):
    """Then one attempt finds out whether it is back; the rest follows."""
    async with Receiver() as broken:
        broken.script = lambda _: 500
        await bench.endpoint(broken.url)
        await bench.endpoint(receiver.url)
        for _ in range(20):
            await bench.ended()
        await bench.round()
        at_first = len(broken.told)
        out = bench.metrics.registry.get_sample_value("batchline_receivers_out")
        await bench.spend(5)
        probed = len(broken.told)
        broken.script = lambda _: 200
        await bench.spend(120)

        assert OPEN_AFTER <= at_first < OPEN_AFTER + MOST_AT_ONCE
        assert (out, probed) == (1, at_first + 1)
        assert len(receiver.taken) == len(broken.taken) == 20
        assert bench.metrics.registry.get_sample_value("batchline_receivers_out") == 0


def refusing(store, method, times):
    """The real store, of which one method refuses so often."""
    left = iter(range(times))

    async def refuse(real, *given, **named):
        if next(left, None) is not None:
            raise StoreUnavailable("the database is locked")
        return await getattr(real, method)(*given, **named)

    return Instead(store, {method: refuse})


async def test_what_a_store_refuses_to_record_for_a_while_is_recorded_later(
    make_bench, store, receiver, clock
):
    """The event is not told again for that."""
    bench = await make_bench(over=refusing(store, "record_attempt", 5))
    await bench.endpoint(receiver.url)
    await bench.ended()

    async def is_recorded():
        clock.advance(1.0)
        await bench.deliverer.step()
        return await bench.states() == {DELIVERED}

    await until(is_recorded)

    assert len(receiver.told) == 1


async def test_what_a_store_refuses_for_longer_is_told_again_under_the_same_id(
    make_bench, store, receiver, clock
):
    """The lease has lapsed: nobody knows that it was taken."""
    bench = await make_bench(over=refusing(store, "record_attempt", LEASE_S + 10))
    await bench.endpoint(receiver.url)
    await bench.ended()

    async def is_recorded():
        clock.advance(1.0)
        await bench.deliverer.step()
        return await bench.states() == {DELIVERED}

    await until(is_recorded)

    assert len(receiver.told) == 2
    assert len(set(receiver.ids)) == 1


@pytest.mark.parametrize("method", ["address_events", "claim_deliveries", "outbox_figures"])
async def test_the_deliverer_outlives_a_store_that_refuses(
    make_bench, store, receiver, clock, method
):
    """It waits, and goes on."""
    bench = await make_bench(over=refusing(store, method, 3))
    await bench.endpoint(receiver.url)
    await bench.ended()
    stop = asyncio.Event()
    running = asyncio.ensure_future(bench.deliverer.run(stop))

    async def is_told():
        clock.advance(1.0)
        return await bench.states() == {DELIVERED}

    await until(is_told)
    stop.set()
    await running

    assert len(receiver.told) == 1


async def test_a_delivery_of_a_deliverer_that_died_is_made_again(bench, receiver, clock, store):
    """Once its lease has lapsed; what the dead one still says of it is not heard."""
    await bench.endpoint(receiver.url)
    await bench.ended()
    await store.address_events((), calls_back=False, now=int(clock.now()), limit=9)
    (dead,) = await store.claim_deliveries(now=int(clock.now()), limit=9, ttl_s=LEASE_S)

    await bench.spend(LEASE_S - 1, every_s=1)
    early = len(receiver.told)
    await bench.spend(2, every_s=1)

    assert (early, len(receiver.told)) == (0, 1)
    assert receiver.told[0].id == dead.delivery.event.id


async def test_an_attempt_that_breaks_is_logged_and_made_again(
    store, clock, make_batch, receiver, caplog
):
    """Others go on; its lease lapses like that of a deliverer that died."""
    left = iter([RuntimeError("odd")])

    async def break_once(real, *given):
        if fault := next(left, None):
            raise fault
        return await real.post(*given)

    async with open_poster(LOOPBACK) as poster:
        broken = Instead(poster, {"post": break_once})
        bench = DeliveryBench(store, clock, broken, make_batch)
        await bench.endpoint(receiver.url)
        await bench.ended()
        await bench.round()
        await bench.spend(LEASE_S + 1, every_s=LEASE_S + 1)

    assert "an attempt broke" in caplog.text
    assert "RuntimeError: odd" in caplog.text
    assert len(receiver.taken) == 1


async def test_a_deliverer_whose_loop_breaks_ends(make_bench, store):
    """Its supervisor starts another; one that delivers nothing must not look alive."""

    async def break_down(*_, **__):
        raise RuntimeError("odd")

    bench = await make_bench(over=Instead(store, {"claim_deliveries": break_down}))

    with pytest.raises(RuntimeError, match="odd"):
        await bench.deliverer.run(asyncio.Event())


async def test_two_deliverers_tell_each_event_once(
    bench, make_bench, receiver, clock, tmp_path, make_batch
):
    """A delivery is leased to one of them."""
    async with opened(tmp_path, clock=clock) as theirs:
        other = await make_bench(over=theirs)
        await bench.endpoint(receiver.url)
        for _ in range(30):
            await bench.ended()

        while await bench.states() != {DELIVERED}:
            await asyncio.gather(bench.round(), other.round())

    assert len(receiver.told) == len(set(receiver.ids)) == 30


async def test_a_stop_waits_for_what_is_under_way(bench, receiver, clock):
    """It begins nothing more."""
    receiver.script = receiver.hang
    await bench.endpoint(receiver.url)
    await bench.ended()
    stop = asyncio.Event()
    running = asyncio.ensure_future(bench.deliverer.run(stop))
    await until(lambda: receiver.told)

    await bench.ended()
    stop.set()
    clock.advance(1.0)
    for _ in range(5):
        await turn()
    is_waiting = not running.done()
    receiver.release.set()
    await running

    assert is_waiting
    assert sorted(d.state for d in await bench.deliveries()) == [DELIVERED]
    assert len(receiver.told) == 1
