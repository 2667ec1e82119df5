"""`Audit` and `Mending` on SQLite: for `fsck`, and what it shares with `backup`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from batchline.api.upload_rules import Part
from batchline.blobs.keys import append_key
from batchline.model import Batch, File, Slice
from batchline.states import SliceState
from batchline.store import repo
from batchline.store.audit import Audit, BatchRows, SegmentRow, SliceRow
from batchline.store.database.connection import (
    Moment,
    copy_database,
    one_moment,
    open_database,
)
from batchline.store.database.schema import found_schema, known_schema
from batchline.store.engine import Mending

from .base import as_json, statement
from .engine import SqliteStore
from .upkeep import PRUNE_FIRST, owned


class SqliteAudit:
    """One moment of the database, in the present schema; `file` is the database as it lies there."""

    def __init__(self, moment: Moment, file: Moment) -> None:
        self._moment = moment
        self._file = file

    async def integrity(self, *, quick: bool) -> list[str]:  # noqa: D102 - contract in store.audit
        pragma = "PRAGMA quick_check" if quick else "PRAGMA integrity_check"
        found = [str(row[0]) for row in await self._file.rows(pragma)]
        return [] if found == ["ok"] else found

    async def identity(self) -> str:  # noqa: D102
        row = await self._moment.row(statement("identity"))
        return str(row["id"]) if row else ""

    async def batches(self, *, after: int, limit: int) -> list[Batch]:  # noqa: D102
        page = {"after": after, "limit": limit}
        return [repo.to_batch(r) for r in await self._moment.rows(statement("audit_batches"), page)]

    async def rows_of(self, batch: Batch) -> BatchRows:  # noqa: D102
        key = {"batch_seq": batch.seq}
        kinds = await self._moment.rows(statement("audit_kinds"), key)
        homeless = await self._moment.row(statement("audit_homeless"), key)
        assert homeless is not None, "a count has a row"
        return BatchRows(
            slices=[
                SliceRow(repo.to_slice(r), SliceState(r["state"]), r["settled"], r["outcomes"])
                for r in await self._moment.rows(statement("audit_slices"), key)
            ],
            segments=[
                _segment_row(r) for r in await self._moment.rows(statement("audit_segments"), key)
            ],
            kinds={row["kind"]: row["outcomes"] for row in kinds},
            homeless=homeless["outcomes"],
        )

    async def files_of(self, batch: Batch) -> dict[str, int]:  # noqa: D102
        key = {"batch_seq": batch.seq}
        segments = await self._moment.rows(statement("audit_segment_files"), key)
        appends = await self._moment.rows(statement("audit_appends"), key)
        return {row["key"]: row["bytes"] for row in segments} | {
            append_key(batch.id, row["append"]): row["bytes"] for row in appends
        }

    async def outcomes(  # noqa: D102
        self, batch: Batch, *, start: int, stop: int
    ) -> list[tuple[int, int, int]]:
        key = {"batch_seq": batch.seq, "start": start, "stop": stop}
        rows = await self._moment.rows(statement("outcomes"), key)
        return [(r[0], r[1], r[2]) for r in rows]

    async def files(self, *, after: int, limit: int) -> list[tuple[int, File]]:  # noqa: D102
        page = {"after": after, "limit": limit}
        rows = await self._moment.rows(statement("audit_files"), page)
        return [(row["seq"], repo.to_file(row)) for row in rows]

    async def known_files(self, ids: Collection[str]) -> dict[str, File]:  # noqa: D102
        wanted = {"ids": as_json(list(ids))}
        rows = await self._moment.rows(statement("audit_known_files"), wanted)
        return {row["id"]: repo.to_file(row) for row in rows}

    async def parts(self, *, after: tuple[str, str], limit: int) -> list[Part]:  # noqa: D102
        page = {"upload_id": after[0], "id": after[1], "limit": limit}
        return [repo.to_part(r) for r in await self._moment.rows(statement("audit_parts"), page)]

    async def unnamed(self, keys: Sequence[str]) -> list[str]:  # noqa: D102
        rows = await self._moment.rows(statement("unnamed"), {"keys": owned(keys)})
        return [row["key"] for row in rows]

    async def garbage_keys(self, *, after: str, limit: int) -> list[str]:  # noqa: D102
        page = {"after": after, "limit": limit}
        return [row["key"] for row in await self._moment.rows(statement("audit_garbage"), page)]

    async def ownerless(self) -> list[int]:  # noqa: D102
        return [row["batch_seq"] for row in await self._moment.rows(statement("audit_ownerless"))]

    async def tokens(self) -> tuple[int, int]:  # noqa: D102
        row = await self._moment.row(statement("audit_tokens"))
        return (row["last"] or 0, row["highest"] or 0) if row else (0, 0)

    async def leased(self) -> dict[str, int]:  # noqa: D102
        rows = await self._moment.rows(statement("audit_leased"))
        return {row["holder"] or "nobody": row["slices"] for row in rows}


class SqliteMending(SqliteStore):
    """Repairs of a database that nobody else has open."""

    async def reindex(self) -> None:  # noqa: D102 - contract in store.engine
        async with self._database.write() as tx:
            await tx.run("REINDEX")

    async def recount(self, batch: Batch, *, without: Collection[int], now: int) -> int:  # noqa: D102
        key = {"batch_seq": batch.seq}
        bad = key | {"segments": as_json(sorted(without))}
        async with self._database.write() as tx:
            dropped = await tx.run(self._text("mend_drop_outcomes"), bad)
            for name in ("mend_drop_segments", "mend_segments", "mend_slices", "mend_counts"):
                await tx.run(self._text(name), bad)
            await tx.run(self._text("mend_reopen"), key)
            await tx.run(self._text("mend_slice_states"), key)
            await tx.run(self._text("drain"), key | {"now": now})
        return dropped

    async def recut(self, batch: Batch, slices: Sequence[Slice]) -> None:  # noqa: D102
        async with self._database.write() as tx:
            await tx.run(self._text("mend_drop_slices"), {"batch_seq": batch.seq})
            await tx.run_many(self._text("add_slice"), [repo.slice_row(s) for s in slices])

    async def drop_ownerless(self, batch_seq: int) -> int:  # noqa: D102
        key = {"batch_seq": batch_seq, "limit": -1}
        async with self._database.write() as tx:
            return sum([await tx.run(self._text(name), key) for name in PRUNE_FIRST])

    async def raise_token(self, least: int) -> None:  # noqa: D102
        async with self._database.write() as tx:
            await tx.run(self._text("mend_token"), {"least": least})


def _segment_row(row: repo.Row) -> SegmentRow:
    stored = repo.to_segment(row)
    return SegmentRow(stored.number, stored.ref, stored.lines_before, stored.lines, row["outcomes"])


@asynccontextmanager
async def open_audit(path: Path) -> AsyncIterator[Audit]:  # noqa: D103 - contract in store.engine
    async with AsyncExitStack() as stack:
        file = moment = await stack.enter_async_context(one_moment(path))
        if await asyncio.to_thread(found_schema, path) < known_schema():
            folder = stack.enter_context(TemporaryDirectory(prefix="batchline-"))
            copy = Path(folder) / path.name
            await copy_database(path, copy)
            await (await open_database(copy)).close()
            moment = await stack.enter_async_context(one_moment(copy))
        yield SqliteAudit(moment, file)


@asynccontextmanager
async def open_mending(  # noqa: D103
    path: Path, *, clock_ms: Callable[[], int]
) -> AsyncIterator[Mending]:
    database = await open_database(path)
    try:
        yield SqliteMending(database, clock_ms=clock_ms)
    finally:
        await database.close()
