"""`Results` on SQLite: finished lines by number and by input order."""

from __future__ import annotations

from collections.abc import Sequence

from batchline.model import Batch, Segment
from batchline.store import repo

from .base import as_json
from .lookup import SqliteLookup


class SqliteResults(SqliteLookup):
    """What reading results takes."""

    async def lines_of_segment(  # noqa: D102 - contract in base
        self, batch: Batch, *, segment: int, lines: Sequence[int]
    ) -> set[int]:
        async with self._database.read() as tx:
            rows = await tx.rows(
                self._text("lines_of_segment"),
                {
                    "batch_seq": batch.seq,
                    "segment": segment,
                    "lines": as_json(lines),
                },
            )
        return {row["line"] for row in rows}

    async def finished_lines(  # noqa: D102
        self, batch: Batch, *, start: int, limit: int
    ) -> list[tuple[int, int, Segment]]:
        async with self._database.read() as tx:
            rows = await tx.rows(
                self._text("finished_lines"),
                {"batch_seq": batch.seq, "start": start, "limit": limit},
            )
        return [(row["line"], row["kind"], repo.to_segment(row)) for row in rows]
