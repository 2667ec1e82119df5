"""From a batch's end to what the stock client makes of the event: API, outbox, deliverer, receiver."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from waiting import until

from batchline.model import Fault
from batchline.states import BatchStatus, OutcomeKind
from batchline.webhooks.post import open_poster
from deliver.deliverer import Deliverer, Wanted
from gateway.keys import SETTINGS

FAULT = Fault("invalid_json_line", "This line is not parseable as valid JSON.", 1, None)


async def completed(gateway, batch_id):
    await gateway.run(batch_id, OutcomeKind.SUCCEEDED)


async def failed(gateway, batch_id):
    batch = await gateway.store.get_batch(batch_id)
    await gateway.store.reject(batch, [FAULT], now=int(gateway.clock()))


async def expired(gateway, batch_id):
    await gateway.run(batch_id, OutcomeKind.SUCCEEDED, until=BatchStatus.IN_PROGRESS)
    batch = await gateway.store.get_batch(batch_id)
    await gateway.store.lapse(now=batch.expires_at)
    await gateway.close(batch_id, BatchStatus.EXPIRED)


async def cancelled(gateway, batch_id):
    await gateway.client.batches.cancel(batch_id)
    await gateway.close(batch_id, BatchStatus.CANCELLED)


@asynccontextmanager
async def delivering(gateway):
    """Run the deliverer over the gateway's store."""
    settings = gateway.app[SETTINGS]
    wanted = Wanted(secret=settings.webhook_secret)
    async with open_poster(settings.webhook_networks) as poster:
        deliverer = Deliverer(
            gateway.store, poster, wanted, metrics=gateway.metrics, clock=gateway.clock
        )
        stop = asyncio.Event()
        running = asyncio.ensure_future(deliverer.run(stop))
        try:
            yield
        finally:
            stop.set()
            await running


@pytest.mark.spec("9-webhooks", "9-unwrap")
@pytest.mark.parametrize("end", [completed, failed, expired, cancelled])
async def test_each_end_is_told_to_who_asked(telling, receiver, end):
    """To the endpoint and to the batch's own URL, each signed with its secret; both under one id."""
    gateway = telling
    gateway.clock.at = time.time()  # the client takes no old signature
    made = await gateway.client.webhooks.create(
        name="n", url=receiver.url, event_types=[f"batch.{end.__name__}"]
    )
    batch = await gateway.create_batch(extra_body={"callback_url": f"{receiver.url}/batch"})
    path = f"/v1/batches/{batch.id}/deliveries"

    async def delivered():
        told = (await gateway.call("GET", path)).json["data"]
        return len(told) == 2 and {one["state"] for one in told} == {"delivered"}

    await end(gateway, batch.id)
    async with delivering(gateway):
        await until(delivered)

    secret = gateway.app[SETTINGS].webhook_secret
    secrets = {"/hook": made.signing_secret, "/hook/batch": secret}
    events = [
        gateway.client.webhooks.unwrap(one.body, one.headers, secret=secrets.pop(one.path))
        for one in receiver.taken
    ]
    assert {event.type for event in events} == {f"batch.{end.__name__}"}
    assert {event.data.id for event in events} == {batch.id}
    assert len({event.id for event in events}) == 1
    assert secrets == {}
