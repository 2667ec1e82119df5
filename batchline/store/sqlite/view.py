"""`View` on SQLite: the overview, the last report, whether it can be written."""

from __future__ import annotations

from pathlib import Path

from batchline.model import FleetReport, Overview
from batchline.store import repo
from batchline.store.database.look import look

from .base import SqliteParts, statement


class SqliteView(SqliteParts):
    """How everything is."""

    async def overview(self, *, finished_limit: int) -> Overview:  # noqa: D102 - contract in base
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


def last_report(path: Path) -> FleetReport | None:  # noqa: D103 - contract in engine
    row = look(path, statement("get_report"))
    return repo.to_report(row["body"]) if row else None
