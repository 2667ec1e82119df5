"""Attempts at deliveries to handlers: which batch, which handler, and what becomes of the delivery."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Protocol, assert_never

from batchline.blobs import Blobs
from batchline.clock import Clock
from batchline.handlers.batch import ended_batch
from batchline.metrics import Metrics
from batchline.model import Batch
from batchline.results.joined import joined
from batchline.results.reader import Reader
from batchline.results.settled import KnownPlaces
from batchline.store import Outbox, Results
from batchline.webhooks.patience import after_failure
from batchline.webhooks.records import Attempted, ClaimedDelivery, DeliveryState, handler_url

from .messages import Start
from .run import HandlerEnd, HandlerRun
from .survey import Installed

MOST_DEATHS = 5
"""A batch on which its handler dies so often in a row, getting no further, is given up."""


class Store(Outbox, Results, Protocol):
    """What attempts ask of the store."""


class Outcome(StrEnum):
    """What came of an attempt, as it is counted."""

    DONE = "done"
    FAILED = "failed"
    DIED = "died"
    GIVEN_UP = "given_up"


class HandlerAttempts:
    """Runs handlers, each at one batch at a time."""

    def __init__(
        self,
        store: Store,
        blobs: Blobs,
        installed: Sequence[Installed],
        *,
        lease_s: float,
        metrics: Metrics,
        clock: Clock,
        luck: Callable[[], float],
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._installed: Mapping[str, Installed] = {one.name: one for one in installed}
        self._lease_s = lease_s
        self._metrics = metrics
        self._clock = clock
        self._luck = luck
        self._known = KnownPlaces()
        self._stop = asyncio.Event()

    @property
    def urls(self) -> Sequence[str]:
        """Where deliveries go that it attempts."""
        return [handler_url(name) for name in self._installed]

    def stop(self) -> None:
        """End what runs: a later attempt goes on from its checkpoint."""
        self._stop.set()

    async def attempt(self, claimed: ClaimedDelivery) -> Attempted:
        """Run the handler at the batch, and say what becomes of the delivery."""
        name = claimed.delivery.handler
        assert name is not None, "others are attempted elsewhere"
        batch = await self._store.get_batch(claimed.delivery.event.batch_id)
        if batch is None:
            return Attempted(DeliveryState.GIVEN_UP, error="The batch was deleted.")
        begun = self._clock.monotonic()
        end = await self._run(self._installed[name], claimed, batch)
        self._metrics.handler_seconds.labels(name).observe(self._clock.monotonic() - begun)
        await self._store.keep_delivery(
            claimed, lines_done=end.lines_done, checkpoint=end.checkpoint, ttl_s=self._lease_s
        )
        self._metrics.handler_lines.labels(name).inc(end.lines_done - claimed.delivery.lines_done)
        attempted = self._judge(claimed, end)
        self._metrics.handler_attempts.labels(name, _outcome_of(attempted, end)).inc()
        return attempted

    async def _run(
        self, installed: Installed, claimed: ClaimedDelivery, batch: Batch
    ) -> HandlerEnd:
        delivery = claimed.delivery
        start = Start(
            source=installed.runnable.source,
            handler=installed.runnable.handler,
            batch=ended_batch(batch),
            settings=installed.section.settings,
            idempotency_key=delivery.event.id,
            attempt=delivery.attempts + 1,
            start=delivery.lines_done,
            state=claimed.checkpoint,
        )
        reader = Reader(self._store, self._blobs, clock=self._clock.now, known=self._known)
        pieces = joined(
            reader,
            self._blobs,
            batch,
            start=delivery.lines_done,
            with_requests=installed.runnable.wants_requests,
        )

        async def keep(lines_done: int, checkpoint: bytes | None) -> bool:
            return await self._store.keep_delivery(
                claimed, lines_done=lines_done, checkpoint=checkpoint, ttl_s=self._lease_s
            )

        return await HandlerRun(installed, start, pieces, keep).run(self._stop)

    def _judge(self, claimed: ClaimedDelivery, end: HandlerEnd) -> Attempted:
        if end.why is None:
            return Attempted(DeliveryState.DELIVERED)
        now = self._clock.now()
        if self._stop.is_set() and not end.has_died:
            return Attempted(DeliveryState.PENDING, due_at=int(now), error=end.why)
        got_further = end.lines_done > claimed.delivery.lines_done
        deaths = 0 if got_further or not end.has_died else claimed.deaths + 1
        why = f"The handler failed: {end.why}"
        if end.is_final or deaths >= MOST_DEATHS:
            return Attempted(DeliveryState.GIVEN_UP, error=why, deaths=deaths)
        attempted = after_failure(
            attempts=0 if got_further else claimed.delivery.attempts,
            since=claimed.delivery.since,
            now=now,
            luck=self._luck(),
            status=None,
            error=why,
        )
        return replace(attempted, deaths=deaths)


def _outcome_of(attempted: Attempted, end: HandlerEnd) -> Outcome:
    match attempted.state:
        case DeliveryState.DELIVERED:
            return Outcome.DONE
        case DeliveryState.GIVEN_UP:
            return Outcome.GIVEN_UP
        case DeliveryState.PENDING:
            return Outcome.DIED if end.has_died else Outcome.FAILED
        case _ as never:
            assert_never(never)
