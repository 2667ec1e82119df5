"""`Lookup` on SQLite: one batch, one file, the segments of a batch."""

from __future__ import annotations

from batchline.model import Batch, File, Segment
from batchline.store import repo

from .base import SqliteParts

_NO_LIMIT = -1


class SqliteLookup(SqliteParts):
    """What more than one kind of user asks."""

    async def get_batch(self, batch_id: str) -> Batch | None:  # noqa: D102 - contract in base
        async with self._database.read() as tx:
            row = await tx.row(self._text("get_batch"), {"id": batch_id})
        return repo.to_batch(row) if row else None

    async def get_file(self, file_id: str, *, now: int) -> File | None:  # noqa: D102
        async with self._database.read() as tx:
            row = await tx.row(self._text("get_file"), {"id": file_id, "now": now})
        return repo.to_file(row) if row else None

    async def segments(  # noqa: D102
        self, batch: Batch, *, after: int = 0, limit: int | None = None
    ) -> list[Segment]:
        page = {"after": after, "limit": _NO_LIMIT if limit is None else limit}
        async with self._database.read() as tx:
            rows = await tx.rows(self._text("segments"), {"batch_seq": batch.seq} | page)
        return [repo.to_segment(row) for row in rows]
