"""`Upkeep` on SQLite: what expired, what is left over, the size of the file itself."""

from __future__ import annotations

from collections.abc import Sequence

from batchline.blobs.keys import is_finish_index, owner_of
from batchline.store.database.connection import Transaction
from batchline.store.records import Backlog

from .base import SqliteParts, as_json
from .kept_bytes import TTL_S

_UPLOADS_KEPT_S = 86400  # for a day more, so that late calls learn what became of an upload


class SqliteUpkeep(SqliteParts):
    """Housekeeping's part of the store. Looks before it writes: mostly there is nothing to do."""

    async def expire_files(self, *, now: int, limit: int) -> int:  # noqa: D102 - contract in work
        async with self._database.read() as tx:
            if await tx.row(self._text("has_expired_files"), {"now": now}) is None:
                return 0
        async with self._database.write() as tx:
            rows = await tx.rows(self._text("expire_files"), {"now": now, "limit": limit})
            for row in rows:
                await self._discard(tx, row["blob_key"])
        return len(rows)

    async def expire_uploads(self, *, now: int, limit: int) -> int:  # noqa: D102
        due = {"now": now, "before": now - _UPLOADS_KEPT_S, "limit": limit}
        async with self._database.read() as tx:
            if await tx.row(self._text("has_old_uploads"), due) is None:
                return 0
        async with self._database.write() as tx:
            rows = await tx.rows(self._text("expire_uploads"), due)
            for row in rows:
                await self._drop_parts(tx, row["id"])
            await tx.run(self._text("forget_uploads"), due)
        return len(rows)

    async def garbage(self, *, limit: int) -> list[str]:  # noqa: D102
        now = {"now_ms": self._clock_ms(), "ttl_ms": int(TTL_S * 1000)}
        async with self._database.read() as tx:
            rows = await tx.rows(self._text("garbage"), now | {"limit": limit})
        return [row["key"] for row in rows]

    async def forget_garbage(self, keys: Sequence[str]) -> None:  # noqa: D102
        async with self._database.write() as tx:
            await tx.run_many(self._text("forget_garbage"), [{"key": key} for key in keys])

    async def prune(self, *, limit: int) -> int:  # noqa: D102
        async with self._database.read() as tx:
            ended = await tx.row(self._text("prunable"))
        if ended is None:
            return 0
        dropped = 0
        async with self._database.write() as tx:
            # Slices last: while one is there, the batch is found again.
            for statement in ("prune_outcomes", "prune_segments", "prune_slices"):
                if dropped < limit:
                    piece = {"batch_seq": ended["seq"], "limit": limit - dropped}
                    dropped += await tx.run(self._text(statement), piece)
        return dropped

    async def drop_batches(self, *, ended_before: int, limit: int) -> int:  # noqa: D102
        wanted = {"ended_before": ended_before, "limit": limit}
        async with self._database.read() as tx:
            if not await tx.rows(self._text("old_batches"), wanted):
                return 0
        async with self._database.write() as tx:
            rows = await tx.rows(self._text("old_batches"), wanted)
            for row in rows:
                for file_id in filter(None, (row["output_file_id"], row["error_file_id"])):
                    file = await tx.row(self._text("drop_lasting_file"), {"id": file_id})
                    if file:
                        await self._discard(tx, file["blob_key"])
                await tx.run(self._text("drop_batch"), {"batch_seq": row["seq"]})
        return len(rows)

    async def identity(self) -> str:  # noqa: D102
        async with self._database.read() as tx:
            row = await tx.row(self._text("identity"))
        assert row is not None, "the migration made it"
        return str(row["id"])

    async def note_unnamed(  # noqa: D102
        self, keys: Sequence[str], *, now: int, first_seen_before: int
    ) -> list[str]:
        async with self._database.read() as tx:
            if not await self._unnamed(tx, keys):
                return []
        async with self._database.write() as tx:
            unnamed = await self._unnamed(tx, keys)
            await tx.run_many(self._text("note_unnamed"), [{"key": k, "now": now} for k in unnamed])
            rows = await tx.rows(
                self._text("long_unnamed"),
                {"keys": as_json(unnamed), "first_seen_before": first_seen_before},
            )
        return [row["key"] for row in rows]

    async def forget_unnamed(self, keys: Sequence[str], *, seen_before: int) -> None:  # noqa: D102
        async with self._database.write() as tx:
            await tx.run_many(self._text("forget_unnamed"), [{"key": key} for key in keys])
            await tx.run(self._text("forget_seen_before"), {"seen_before": seen_before})

    async def backlog(self) -> Backlog:  # noqa: D102
        async with self._database.read() as tx:
            garbage = await tx.row(self._text("garbage_pending"))
            unnamed = await tx.row(self._text("count_unnamed"))
        assert garbage is not None, "a count has a row"
        assert unnamed is not None, "a count has a row"
        sizes = await self._database.sizes()
        return Backlog(
            garbage=garbage["pending"],
            unnamed=unnamed["unnamed"],
            database_bytes=sizes.database_bytes,
            log_bytes=sizes.log_bytes,
            pages=sizes.pages,
            free_pages=sizes.free_pages,
        )

    async def vacuum(self, *, pages: int) -> int:  # noqa: D102
        return await self._database.vacuum(pages)

    async def checkpoint(self) -> bool:  # noqa: D102
        return await self._database.checkpoint()

    async def _unnamed(self, tx: Transaction, keys: Sequence[str]) -> list[str]:
        rows = await tx.rows(self._text("unnamed"), {"keys": owned(keys)})
        return [row["key"] for row in rows]


def owned(keys: Sequence[str]) -> str:
    """Write keys for the statement `unnamed`: with whom each belongs to, and what it may go with."""
    return as_json(
        [(key, owner_of(key), is_finish_index(key), key.rpartition("/")[0] + "/") for key in keys]
    )
