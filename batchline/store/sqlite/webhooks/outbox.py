"""`Outbox` on SQLite: events addressed, deliveries leased and noted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from batchline.store import webhook_rows as rows
from batchline.store.database.direct import Direct
from batchline.store.sqlite.base import SqliteParts, as_json
from batchline.webhooks.addresses import origin_of
from batchline.webhooks.records import (
    Ask,
    Attempted,
    ClaimedDelivery,
    EventType,
    OutboxFigures,
    Standing,
)

_NO_ATTEMPT = (
    "Nothing was attempted in its time: its receiver was left alone, or its handler runs nowhere."
)


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
        self,
        *,
        now: int,
        limit: int,
        ttl_s: float,
        but: Collection[str] = (),
        handlers: Collection[str] = (),
    ) -> list[ClaimedDelivery]:
        now_ms = self._clock_ms()
        asked = {
            "now": now,
            "now_ms": now_ms,
            "limit": limit,
            "but": as_json(sorted(but)),
            "handlers": as_json(sorted(handlers)),
        }
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

    async def keep_delivery(  # noqa: D102
        self, claimed: ClaimedDelivery, *, lines_done: int, checkpoint: bytes | None, ttl_s: float
    ) -> bool:
        values = {
            "number": claimed.delivery.number,
            "token": claimed.token,
            "lines_done": lines_done,
            "checkpoint": checkpoint,
            "until_ms": self._clock_ms() + int(ttl_s * 1000),
        }
        async with self._database.write() as tx:
            return await tx.run(self._text("keep_delivery"), values) > 0

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
            "deaths": attempted.deaths,
            "now": now,
        }
        async with self._database.write() as tx:
            return await tx.run(self._text("record_attempt"), values) > 0

    async def give_up_late(self, *, made_before: int, now: int, limit: int) -> int:  # noqa: D102
        asked = {"made_before": made_before, "now": now, "limit": limit, "error": _NO_ATTEMPT}
        async with self._database.write() as tx:
            return await tx.run(self._text("give_up_late"), asked | {"now_ms": self._clock_ms()})

    async def outbox_figures(self) -> OutboxFigures:  # noqa: D102
        async with self._database.read() as tx:
            row = await tx.row(self._text("outbox_figures"))
        assert row is not None, "a count has a row"
        return rows.to_figures(row)

    async def forget_deliveries(self, *, ended_before: int, limit: int) -> int:  # noqa: D102
        asked = {"ended_before": ended_before, "limit": limit}
        async with self._database.write() as tx:
            forgotten = await tx.run(self._text("forget_deliveries"), asked)
            rest = asked | {"limit": limit - forgotten}
            return forgotten + await tx.run(self._text("forget_events"), rest)

    def _address(
        self, tx: Direct, event: Any, standing: Sequence[Standing], *, calls_back: bool, now: int
    ) -> None:
        marked = tx.run(self._text("mark_addressed"), {"seq": event["seq"]})
        assert marked, "it was not addressed in this transaction"
        key = {"event_id": event["id"], "now": now}
        tx.run(
            self._text("address_to_endpoints"), key | {"seq": event["seq"], "type": event["type"]}
        )
        kind, metadata = EventType(event["type"]), rows.to_metadata(event)
        asked = [(Ask.SETTING, one.url) for one in standing if one.wants(kind, metadata)]
        if calls_back and event["callback_url"]:
            asked.append((Ask.BATCH, event["callback_url"]))
        for ask, url in asked:
            receiver = {"ask": ask, "url": url, "origin": origin_of(url)}
            tx.run(self._text("address_to"), key | receiver)
