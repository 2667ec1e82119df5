"""`Steering` on SQLite: pause and resume."""

from __future__ import annotations

from batchline.model import Batch

from . import repo
from .sqlite_intake import SqliteParts


class SqliteSteering(SqliteParts):
    """What the gateway does with batches beyond OpenAI's API."""

    async def pause_batch(self, batch_id: str, *, now: int) -> Batch | None:  # noqa: D102 - base
        async with self._database.write() as tx:
            await tx.run(self._text("pause_batch"), {"id": batch_id, "now": now})
            row = await tx.row(self._text("get_batch"), {"id": batch_id})
        return repo.to_batch(row) if row else None

    async def resume_batch(self, batch_id: str) -> Batch | None:  # noqa: D102
        async with self._database.write() as tx:
            await tx.run(self._text("resume_batch"), {"id": batch_id})
            row = await tx.row(self._text("get_batch"), {"id": batch_id})
        return repo.to_batch(row) if row else None
