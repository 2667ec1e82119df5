"""A deliverer in this process over a real store, a real poster and a clock that a test moves."""

from __future__ import annotations

from ipaddress import ip_network

from batchline.metrics import Metrics
from batchline.model import Fault
from batchline.webhooks.records import Endpoint, EventType, new_endpoint_id, new_secret
from deliver.deliverer import Deliverer, Wanted

LOOPBACK = (ip_network("127.0.0.0/8"),)


class DeliveryBench:
    """What a test drives: endpoints, batches that end, rounds of the deliverer."""

    def __init__(self, store, clock, poster, make_batch, wanted=None, *, metrics=None, **fields):
        self.store, self.clock, self._make_batch = store, clock, make_batch
        self.metrics = metrics or Metrics()
        self.deliverer = Deliverer(
            store,
            poster,
            wanted or Wanted(),
            metrics=self.metrics,
            clock=clock,
            luck=lambda: 1.0,
            **fields,
        )

    async def endpoint(self, url, *, event_types=tuple(EventType)):
        now = int(self.clock.now())
        made = Endpoint(new_endpoint_id(), "n", url, event_types, new_secret(), now, now)
        await self.store.add_endpoint(made)
        return made

    async def ended(self, **fields):
        """Let a batch fail, which is an event."""
        batch = await self._make_batch(**fields)
        assert await self.store.reject(batch, [Fault("f", "m")], now=int(self.clock.now()))
        return batch

    async def round(self):
        """Attempt all that is due, each attempt to its end."""
        while await self.deliverer.step():
            await self.deliverer.wait_for_attempts()

    async def spend(self, seconds, *, every_s=5.0):
        """Let time go by, with a round at the end of each step."""
        for _ in range(int(seconds / every_s)):
            self.clock.advance(every_s)
            await self.round()

    async def deliveries(self):
        """Return all, the first made first."""
        return (await self.store.list_deliveries(limit=1000))[::-1]

    async def delivery(self):
        (only,) = await self.deliveries()
        return only

    async def states(self):
        return {delivery.state for delivery in await self.deliveries()}
