"""`Endpoints` and `Outbox` on SQLite."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from batchline.model import Page
from batchline.store import webhook_rows as rows
from batchline.store.database.direct import Direct
from batchline.webhooks.addresses import origin_of
from batchline.webhooks.records import (
    Ask,
    Attempted,
    ClaimedDelivery,
    Delivery,
    Endpoint,
    EventType,
    OutboxFigures,
    Standing,
)

from .base import SqliteParts, as_json

FIRST = 1 << 62
"""Above every number."""
_ENDPOINT_GONE = "The endpoint was deleted."


class SqliteEndpoints(SqliteParts):
    """The receivers that clients registered, and what became of deliveries."""

    async def add_endpoint(self, endpoint: Endpoint) -> None:  # noqa: D102 - contract in webhooks
        async with self._database.write() as tx:
            await tx.run(self._text("add_endpoint"), rows.endpoint_row(endpoint))

    async def get_endpoint(self, endpoint_id: str) -> Endpoint | None:  # noqa: D102
        async with self._database.read() as tx:
            row = await tx.row(self._text("get_endpoint"), {"id": endpoint_id})
        return rows.to_endpoint(row) if row else None

    async def list_endpoints(self, *, after: str | None, limit: int) -> Page[Endpoint] | None:  # noqa: D102
        async with self._database.read() as tx:
            first = FIRST
            if after is not None:
                row = await tx.row(self._text("get_endpoint"), {"id": after})
                if row is None:
                    return None
                first = row["seq"]
            asked = {"after": first, "limit": limit + 1}
            found = await tx.rows(self._text("list_endpoints"), asked)
        return Page([rows.to_endpoint(row) for row in found[:limit]], len(found) > limit)

    async def count_endpoints(self) -> int:  # noqa: D102
        async with self._database.read() as tx:
            row = await tx.row(self._text("count_endpoints"))
        assert row is not None, "a count has a row"
        many: int = row["many"]
        return many

    async def update_endpoint(  # noqa: D102
        self,
        endpoint_id: str,
        *,
        name: str | None,
        url: str | None,
        event_types: Sequence[EventType] | None,
        now: int,
    ) -> Endpoint | None:
        changes = {
            "id": endpoint_id,
            "name": name,
            "url": url,
            "origin": None if url is None else origin_of(url),
            "event_types": None if event_types is None else as_json(list(event_types)),
            "now": now,
        }
        return await self._change("update_endpoint", changes)

    async def rotate_secret(  # noqa: D102
        self, endpoint_id: str, *, secret: str, keep_until: int | None, now: int
    ) -> Endpoint | None:
        changes = {"id": endpoint_id, "secret": secret, "keep_until": keep_until, "now": now}
        return await self._change("rotate_secret", changes)

    async def delete_endpoint(self, endpoint_id: str, *, now: int) -> bool:  # noqa: D102
        key = {"id": endpoint_id, "now": now, "error": _ENDPOINT_GONE}
        async with self._database.write() as tx:
            await tx.run(self._text("give_up_deliveries"), key)
            return await tx.run(self._text("delete_endpoint"), key) > 0

    async def list_deliveries(  # noqa: D102
        self,
        *,
        endpoint_id: str | None = None,
        batch_id: str | None = None,
        before: int | None = None,
        limit: int,
    ) -> list[Delivery]:
        asked = {
            "endpoint_id": endpoint_id,
            "batch_id": batch_id,
            "before": FIRST if before is None else before,
            "limit": limit,
        }
        async with self._database.read() as tx:
            return [
                rows.to_delivery(r) for r in await tx.rows(self._text("list_deliveries"), asked)
            ]

    async def replay_delivery(self, number: int, *, now: int) -> Delivery | None:  # noqa: D102
        async with self._database.write() as tx:
            replayed = await tx.run(self._text("replay_delivery"), {"number": number, "now": now})
            row = await tx.row(self._text("get_delivery"), {"number": number})
        if replayed:
            self._moved.set()
        return rows.to_delivery(row) if row else None

    async def _change(self, statement: str, changes: dict[str, Any]) -> Endpoint | None:
        async with self._database.write() as tx:
            await tx.run(self._text(statement), changes)
            row = await tx.row(self._text("get_endpoint"), {"id": changes["id"]})
        return rows.to_endpoint(row) if row else None


class SqliteOutbox(SqliteParts):
    """What happened and is to be told."""

    async def address_events(  # noqa: D102 - contract in webhooks
        self, standing: Sequence[Standing], *, calls_back: bool, now: int, limit: int
    ) -> int:
        async with self._database.read() as tx:
            if not await tx.rows(self._text("events_to_address"), {"limit": 1}):
                return 0

        def address(tx: Direct) -> int:
            events = tx.rows(self._text("events_to_address"), {"limit": limit})
            for event in events:
                self._address(tx, event, standing, calls_back=calls_back, now=now)
            return len(events)

        return await self._database.at_once(address)

    async def claim_deliveries(  # noqa: D102
        self, *, now: int, limit: int, ttl_s: float, but: Collection[str] = ()
    ) -> list[ClaimedDelivery]:
        now_ms = self._clock_ms()
        asked = {"now": now, "now_ms": now_ms, "limit": limit, "but": as_json(sorted(but))}
        async with self._database.read() as tx:
            if not await tx.rows(self._text("claimable_deliveries"), asked | {"limit": 1}):
                return []
        until_ms = now_ms + int(ttl_s * 1000)

        def claim(tx: Direct) -> list[ClaimedDelivery]:
            claimed = []
            for found in tx.rows(self._text("claimable_deliveries"), asked):
                key = {"number": found["number"], "now_ms": now_ms, "until_ms": until_ms}
                token = tx.row(self._text("claim_delivery"), key)
                row = tx.row(self._text("get_delivery"), {"number": found["number"]})
                assert token is not None, "it was claimable in this transaction"
                assert row is not None, "as above"
                claimed.append(rows.to_claimed(row, token["token"], now=now))
            return claimed

        return await self._database.at_once(claim)

    async def record_attempt(  # noqa: D102
        self, claimed: ClaimedDelivery, attempted: Attempted, *, now: int
    ) -> bool:
        values = {
            "number": claimed.delivery.number,
            "token": claimed.token,
            "state": attempted.state,
            "due_at": attempted.due_at,
            "status": attempted.status,
            "error": attempted.error,
            "now": now,
        }
        async with self._database.write() as tx:
            return await tx.run(self._text("record_attempt"), values) > 0

    async def outbox_figures(self) -> OutboxFigures:  # noqa: D102
        async with self._database.read() as tx:
            row = await tx.row(self._text("outbox_figures"))
        assert row is not None, "a count has a row"
        return rows.to_figures(row)

    async def forget_deliveries(self, *, ended_before: int, limit: int) -> int:  # noqa: D102
        asked = {"ended_before": ended_before, "limit": limit}
        async with self._database.write() as tx:
            forgotten = await tx.run(self._text("forget_deliveries"), asked)
            await tx.run(self._text("forget_events"), asked)
        return forgotten

    def _address(
        self, tx: Direct, event: Any, standing: Sequence[Standing], *, calls_back: bool, now: int
    ) -> None:
        if not tx.run(self._text("mark_addressed"), {"seq": event["seq"]}):
            return
        key = {"event_id": event["id"], "now": now}
        wanted = {"type": event["type"], "happened_at": event["created_at"]}
        tx.run(self._text("address_to_endpoints"), key | wanted)
        asked = [(Ask.SETTING, receiver.url) for receiver in standing]
        if calls_back and event["callback_url"]:
            asked.append((Ask.BATCH, event["callback_url"]))
        for ask, url in asked:
            receiver = {"ask": ask, "url": url, "origin": origin_of(url)}
            tx.run(self._text("address_to"), key | receiver)
