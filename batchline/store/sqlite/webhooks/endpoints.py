"""`Endpoints` on SQLite: receivers, and what became of deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchline.store import webhook_rows as rows
from batchline.store.records import Page
from batchline.store.sqlite.base import SqliteParts, as_json
from batchline.webhooks.addresses import origin_of
from batchline.webhooks.records import Delivery, Endpoint, EventType

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
        moved = () if url is None else ("move_deliveries",)
        return await self._change(("update_endpoint", *moved), changes)

    async def rotate_secret(  # noqa: D102
        self, endpoint_id: str, *, secret: str, keep_until: int | None, now: int
    ) -> Endpoint | None:
        changes = {"id": endpoint_id, "secret": secret, "keep_until": keep_until, "now": now}
        return await self._change(("rotate_secret",), changes)

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
        statement = "list_deliveries"
        if batch_id is not None:
            statement = "list_deliveries_of_batch"
        elif endpoint_id is not None:
            statement = "list_deliveries_to_endpoint"
        async with self._database.read() as tx:
            return [rows.to_delivery(row) for row in await tx.rows(self._text(statement), asked)]

    async def replay_delivery(self, number: int, *, now: int) -> Delivery | None:  # noqa: D102
        async with self._database.write() as tx:
            replayed = await tx.run(self._text("replay_delivery"), {"number": number, "now": now})
            row = await tx.row(self._text("get_delivery"), {"number": number})
        if replayed:
            self._moved.set()
        return rows.to_delivery(row) if row else None

    async def _change(self, statements: Sequence[str], changes: dict[str, Any]) -> Endpoint | None:
        async with self._database.write() as tx:
            for statement in statements:
                await tx.run(self._text(statement), changes)
            row = await tx.row(self._text("get_endpoint"), {"id": changes["id"]})
        return rows.to_endpoint(row) if row else None
