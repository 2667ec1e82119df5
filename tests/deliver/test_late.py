"""Deliveries whose time is over before they came to an attempt."""

from __future__ import annotations

from ipaddress import ip_network

from clocks import MovedClock
from ports import free_port
from waiting import until

from batchline.metrics import Metrics
from batchline.model import Fault
from batchline.webhooks.patience import GIVEN_UP_AFTER_S, LATE_S
from batchline.webhooks.post import open_poster
from batchline.webhooks.records import DeliveryState, Standing, new_secret
from deliver.deliverer import Deliverer, Wanted
from deliver.receiver_circuit import OPEN_AFTER

MANY = 20


async def test_all_that_waits_for_a_receiver_that_is_gone_is_given_up_in_time(store, make_batch):
    """It gets an attempt every ten minutes: a thousand deliveries would wait for a week."""
    clock, metrics = MovedClock(), Metrics()
    wanted = Wanted([Standing(f"http://127.0.0.1:{free_port()}/hook")], new_secret())
    for _ in range(MANY):
        await store.reject(await make_batch(), [Fault("x", "y")], now=int(clock.now()))

    async def states():
        return [told.state for told in await store.list_deliveries(limit=99)]

    async with open_poster([ip_network("127.0.0.0/8")]) as poster:
        deliverer = Deliverer(store, poster, wanted, metrics=metrics, clock=clock)

        async def is_out():
            await deliverer.step()
            return metrics.receivers_out._value.get() == 1

        await until(is_out)
        clock.advance(GIVEN_UP_AFTER_S)
        await deliverer.step()
        waiting = await states()
        clock.advance(LATE_S - GIVEN_UP_AFTER_S + 1)

        async def are_given_up():
            await deliverer.step()
            return set(await states()) == {DeliveryState.GIVEN_UP}

        await until(are_given_up)

    log = await store.list_deliveries(limit=99)
    assert waiting.count(DeliveryState.PENDING) >= MANY - OPEN_AFTER - 4
    assert sum(told.attempts == 0 for told in log) >= MANY - OPEN_AFTER - 8
    assert metrics.deliveries.labels("given_up")._value.get() == MANY
