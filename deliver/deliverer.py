"""Works the outbox off: makes deliveries of events, claims those that are due, attempts and records them.

Each delivery is made at least once: its lease ends with its record, or lapses with this process. A receiver
knows a repeated one by the id of its event. How an attempt is made is told elsewhere: `webhook_attempts`,
`handling.attempts`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from batchline.clock import Clock
from batchline.errors import StoreUnavailable
from batchline.metrics import Metrics
from batchline.store import Conduct, Outbox
from batchline.webhooks.addresses import origin_of
from batchline.webhooks.patience import LATE_S
from batchline.webhooks.post import TIMEOUT_S, Poster
from batchline.webhooks.records import (
    Attempted,
    ClaimedDelivery,
    DeliveryState,
    OutboxFigures,
    Standing,
)

from .handling.attempts import HandlerAttempts
from .receiver_circuit import Receivers
from .webhook_attempts import WebhookAttempts

log = logging.getLogger(__name__)

KEPT_S = 7 * 86400
"""What has ended stays in the log for so long."""
_AT_ONCE = 64
_HANDLERS_AT_ONCE = 2
_EVENTS_AT_ONCE = 100
LEASE_S = TIMEOUT_S + 20.0
_LOOK_S = 1.0
_REST_S = 0.1
_AGAIN_S = 1.0
_FORGET_EVERY_S = 60.0
_FORGOTTEN_AT_ONCE = _GIVEN_UP_AT_ONCE = 1000


class Store(Outbox, Conduct, Protocol):
    """What the deliverer asks of the store."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator set: who gets which events, and what signs where no endpoint has a secret."""

    standing: Sequence[Standing] = ()
    secret: str | None = None


class Deliverer:
    """The loops of one process; several may run over one store."""

    def __init__(
        self,
        store: Store,
        poster: Poster,
        wanted: Wanted,
        *,
        metrics: Metrics,
        clock: Clock,
        luck: Callable[[], float] = random.random,
        handlers: HandlerAttempts | None = None,
    ) -> None:
        """Begin. `handlers`: attempts what goes to handlers; without it others do."""
        self._store = store
        self._wanted = wanted
        self._metrics = metrics
        self._clock = clock
        self._webhooks = WebhookAttempts(poster, wanted.secret, clock=clock, luck=luck)
        self._handlers = handlers
        self._receivers = Receivers()
        self._under_way: set[asyncio.Task[None]] = set()
        self._handling = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop`; then let what is under way end."""
        loops = [asyncio.ensure_future(self._deliver()), asyncio.ensure_future(self._forget())]
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([stopping, *loops], return_when=asyncio.FIRST_COMPLETED)
            for loop in loops:
                if loop.done():
                    loop.result()
        finally:
            for task in (stopping, *loops):
                task.cancel()
            await asyncio.gather(stopping, *loops, return_exceptions=True)
            await self.finish()

    async def finish(self) -> None:
        """Let what is under way end, or cut it once an attempt cannot take longer."""
        if self._handlers is not None:
            self._handlers.stop()
        await self.wait_for_attempts(timeout_s=TIMEOUT_S)
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def wait_for_attempts(self, *, timeout_s: float | None = None) -> None:
        """Wait until those under way have ended."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=timeout_s)

    async def _deliver(self) -> None:
        while True:
            try:
                await self.step()
                # an attempt that ends lets the next to its receiver begin, and no store tells of it
                await self._store.wait_for_work(timeout_s=0.0 if self._under_way else _LOOK_S)
                await self._clock.sleep(_REST_S)  # the store is written often while batches run
            except StoreUnavailable as exc:
                log.warning("deliveries wait: %s", exc)
                await self._clock.sleep(_AGAIN_S)

    async def step(self) -> int:
        """Make deliveries of new events and begin those that are due; return how many began."""
        now = int(self._clock.now())
        await self._store.address_events(
            self._wanted.standing,
            calls_back=self._wanted.secret is not None,
            now=now,
            limit=_EVENTS_AT_ONCE,
        )
        begun = await self._begin(now)
        figures = await self._store.outbox_figures()
        await self._give_up(figures, now)
        self._show(figures, now)
        return begun

    async def _begin(self, now: int) -> int:
        """Begin what is due, one claim each: after it, its receiver may be busy."""
        begun = 0
        while len(self._under_way) < _AT_ONCE:
            claimed = await self._store.claim_deliveries(
                now=now,
                limit=1,
                ttl_s=LEASE_S,
                but=self._receivers.busy(self._clock.monotonic()),
                handlers=self._free_handlers(),
            )
            if not claimed:
                break
            self._start(claimed[0])
            begun += 1
        return begun

    def _free_handlers(self) -> Sequence[str]:
        if self._handlers is None or self._handling >= _HANDLERS_AT_ONCE:
            return ()
        return self._handlers.urls

    def _start(self, claimed: ClaimedDelivery) -> None:
        origin = origin_of(claimed.delivery.url)
        self._receivers.begin(origin)
        task = asyncio.ensure_future(self._attempt(claimed, origin))
        self._under_way.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("an attempt broke; its delivery is claimed again", exc_info=fault)

    async def _attempt(self, claimed: ClaimedDelivery, origin: str) -> None:
        is_taken = False
        try:
            attempted = await self._made(claimed)
            is_taken = attempted.state is DeliveryState.DELIVERED
        finally:
            self._receivers.end(origin, self._clock.monotonic(), is_taken=is_taken)
        await self._record(claimed, attempted)

    async def _made(self, claimed: ClaimedDelivery) -> Attempted:
        if claimed.delivery.handler is None:
            return await self._webhooks.attempt(claimed)
        assert self._handlers is not None, "nobody else claims what goes to handlers"
        self._handling += 1
        try:
            return await self._handlers.attempt(claimed)
        finally:
            self._handling -= 1

    async def _record(self, claimed: ClaimedDelivery, attempted: Attempted) -> None:
        delivery, until = claimed.delivery, self._clock.monotonic() + LEASE_S
        self._metrics.deliveries.labels(_OUTCOMES[attempted.state]).inc()
        if attempted.state is DeliveryState.GIVEN_UP:
            log.warning(
                "gave up delivery %d of %s: %s", delivery.number, delivery.event.id, attempted.error
            )
        while self._clock.monotonic() < until:  # afterwards it is claimed anew, and made again
            with suppress(StoreUnavailable):
                await self._store.record_attempt(claimed, attempted, now=int(self._clock.now()))
                return
            await self._clock.sleep(_AGAIN_S)

    async def _give_up(self, found: OutboxFigures, now: int) -> None:
        """Give up what came to no attempt in its time: its receiver is left alone, and has many."""
        if found.oldest_since is None or found.oldest_since >= now - LATE_S:
            return
        late = await self._store.give_up_late(
            made_before=now - LATE_S, now=now, limit=_GIVEN_UP_AT_ONCE
        )
        self._metrics.deliveries.labels("given_up").inc(late)
        if late:
            log.warning("gave up %d deliveries to receivers that take nothing", late)

    def _show(self, found: OutboxFigures, now: int) -> None:
        self._metrics.deliveries_pending.set(found.pending)
        waited = 0 if found.oldest_since is None else max(0, now - found.oldest_since)
        self._metrics.deliveries_oldest_seconds.set(waited)
        self._metrics.receivers_out.set(self._receivers.out(self._clock.monotonic()))

    async def _forget(self) -> None:
        while True:
            with suppress(StoreUnavailable):
                await self.forget()
            await self._clock.sleep(_FORGET_EVERY_S)

    async def forget(self) -> None:
        """Forget what ended `KEPT_S` ago or earlier."""
        before = int(self._clock.now()) - KEPT_S
        many = _FORGOTTEN_AT_ONCE
        while many == await self._store.forget_deliveries(ended_before=before, limit=many):
            await self._clock.sleep(_REST_S)


_OUTCOMES = {
    DeliveryState.DELIVERED: "taken",
    DeliveryState.PENDING: "failed",
    DeliveryState.GIVEN_UP: "given_up",
}
