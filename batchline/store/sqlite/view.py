"""`View` on SQLite: the overview, the last report, whether it can be written."""

from __future__ import annotations

from pathlib import Path

from batchline.model import FleetReport
from batchline.store import repo, webhook_rows
from batchline.store.database.look import look
from batchline.store.records import Overview
from batchline.webhooks.records import OutboxOverview

from .base import SqliteParts, statement
from .webhooks.endpoints import FIRST


class SqliteView(SqliteParts):
    """How everything is."""

    async def overview(  # noqa: D102 - contract in base
        self, *, finished_limit: int, deliveries_limit: int = 0
    ) -> Overview:
        async with self._database.read() as tx:
            running = await tx.rows(self._text("open_batches"))
            ended = await tx.rows(self._text("finished_batches"), {"limit": finished_limit})
            storage = await tx.row(self._text("storage"))
        assert storage is not None, "a count has a row"
        sizes = await self._database.sizes()
        return Overview(
            open_batches=[repo.to_batch(r) for r in running],
            finished=[repo.to_batch(r) for r in ended],
            report=await self.fleet_report(),
            files=storage["files"],
            files_bytes=storage["bytes"],
            database_bytes=sizes.database_bytes + sizes.log_bytes,
            outbox=await self._outbox(deliveries_limit),
        )

    async def fleet_report(self) -> FleetReport | None:  # noqa: D102
        async with self._database.read() as tx:
            row = await tx.row(self._text("get_report"))
        return repo.to_report(row["body"]) if row else None

    async def check_writable(self) -> None:  # noqa: D102
        async with self._database.write() as tx:
            # An update to the same value would write no page, and a full disk go unnoticed.
            await tx.run(self._text("add_garbage"), {"key": ""})
            await tx.run(self._text("forget_garbage"), {"key": ""})

    async def _outbox(self, limit: int) -> OutboxOverview:
        every = {"endpoint_id": None, "batch_id": None, "before": FIRST, "limit": limit}
        async with self._database.read() as tx:
            figures = await tx.row(self._text("outbox_figures"))
            endpoints = await tx.row(self._text("count_endpoints"))
            unaddressed = await tx.row(self._text("unaddressed_events"))
            newest = await tx.rows(self._text("list_deliveries"), every)
            waiting = await tx.rows(self._text("waiting_deliveries"), {"limit": limit})
        assert figures is not None, "a count has a row"
        assert endpoints is not None, "as above"
        assert unaddressed is not None, "as above"
        return OutboxOverview(
            figures=webhook_rows.to_figures(figures),
            endpoints=endpoints["many"],
            unaddressed_since=unaddressed["since"],
            has_callback=bool(unaddressed["has_callback"]),
            newest=[webhook_rows.to_delivery(row) for row in newest],
            waiting=[webhook_rows.to_delivery(row) for row in waiting],
        )


def last_report(path: Path) -> FleetReport | None:  # noqa: D103 - contract in engine
    row = look(path, statement("get_report"))
    return repo.to_report(row["body"]) if row else None
