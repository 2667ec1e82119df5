"""The contract for rows, as `base`: webhook endpoints, and the outbox from which deliveries are made."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from batchline.store.records import Page
from batchline.webhooks.records import (
    Attempted,
    ClaimedDelivery,
    Delivery,
    Endpoint,
    EventType,
    OutboxFigures,
    Standing,
)


class Endpoints(Protocol):
    """The receivers that clients registered, and what became of deliveries."""

    async def add_endpoint(self, endpoint: Endpoint) -> None:
        """Insert one endpoint; it gets the events that happen from now on."""

    async def get_endpoint(self, endpoint_id: str) -> Endpoint | None:
        """Return the endpoint, or None if there is none."""

    async def list_endpoints(self, *, after: str | None, limit: int) -> Page[Endpoint] | None:
        """Return one page, newest first; None if the endpoint `after` is unknown."""

    async def count_endpoints(self) -> int:
        """Return how many endpoints there are."""

    async def update_endpoint(
        self,
        endpoint_id: str,
        *,
        name: str | None,
        url: str | None,
        event_types: Sequence[EventType] | None,
        now: int,
    ) -> Endpoint | None:
        """Change what is given and return the endpoint as it is afterwards, or None if there is none.

        `updated_at` moves only if something changed. Pending deliveries go to the new address, and no
        record of one that has ended changes.
        """

    async def rotate_secret(
        self, endpoint_id: str, *, secret: str, keep_until: int | None, now: int
    ) -> Endpoint | None:
        """Let `secret` sign from now on; the one before it until `keep_until`, or no more.

        Return the endpoint as it is afterwards, or None if there is none.
        """

    async def delete_endpoint(self, endpoint_id: str, *, now: int) -> bool:
        """Forget the endpoint and give up its pending deliveries; False if there was none."""

    async def list_deliveries(
        self,
        *,
        endpoint_id: str | None = None,
        batch_id: str | None = None,
        before: int | None = None,
        limit: int,
    ) -> list[Delivery]:
        """Return deliveries to the endpoint, of the batch's events, or all; the last made first.

        With `before`, only those with lower numbers.
        """

    async def replay_delivery(self, number: int, *, now: int) -> Delivery | None:
        """Make a delivery pending and due at once, whatever became of it; its event keeps its id.

        A handler gets all results again.

        Return it as it is afterwards, or None if there is none. One whose endpoint is gone is returned
        unchanged.
        """


class Outbox(Protocol):
    """What happened and is to be told.

    An event is there as soon as its batch has ended, whoever ended it, and once. It is told also if its
    batch is forgotten.
    """

    async def address_events(
        self, standing: Sequence[Standing], *, calls_back: bool, now: int, limit: int
    ) -> int:
        """Make the deliveries of up to `limit` events, first those that happened first; return how many.

        Each goes to the endpoints that want its type, to those of `standing` that want it, and with
        `calls_back` to where its batch asked for it. A receiver gets an event once for each who asked.
        """

    async def claim_deliveries(
        self,
        *,
        now: int,
        limit: int,
        ttl_s: float,
        but: Collection[str] = (),
        handlers: Collection[str] = (),
    ) -> list[ClaimedDelivery]:
        """Lease up to `limit` pending deliveries that are due, first those due first.

        None to an origin in `but` (scheme, host and port of its URL), and to handlers only if their URL is
        in `handlers`. Each claim has a token that no claim of that delivery had before. A lease that has
        lapsed is open again.
        """

    async def keep_delivery(
        self, claimed: ClaimedDelivery, *, lines_done: int, checkpoint: bytes | None, ttl_s: float
    ) -> bool:
        """Renew a lease, and note how far the handler came.

        False if the delivery was claimed anew, replayed or given up meanwhile: nothing is noted.
        """

    async def record_attempt(
        self, claimed: ClaimedDelivery, attempted: Attempted, *, now: int
    ) -> bool:
        """Note what came of an attempt and end its lease.

        False if the delivery was claimed anew, replayed or given up meanwhile: nothing is noted.
        """

    async def give_up_late(self, *, made_before: int, now: int, limit: int) -> int:
        """Give up at most `limit` deliveries that were made, or replayed, before; return how many.

        None that is leased. They may have come to no attempt: their receiver is left alone, and has many.
        """

    async def outbox_figures(self) -> OutboxFigures:
        """Return what the outbox holds."""

    async def forget_deliveries(self, *, ended_before: int, limit: int) -> int:
        """Forget up to `limit` deliveries that ended by then, and events left without any; return how many.

        An event that happened after `ended_before`, or that is not addressed, is kept.
        """
