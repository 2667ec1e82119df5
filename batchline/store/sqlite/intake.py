"""`Intake` on SQLite: files and batches, and lists of them."""

from __future__ import annotations

from collections.abc import Collection

from batchline.api.appends import Added, Append, AppendLimits, Refused
from batchline.model import Batch, File, NewBatch, UsedKey
from batchline.process.failpoints import failpoint
from batchline.states import BatchStatus, SliceState
from batchline.store import repo
from batchline.store.appended_slices import cut
from batchline.store.database.connection import Transaction
from batchline.store.database.direct import Direct
from batchline.store.records import Page

from .base import as_json
from .lookup import SqliteLookup

_LAST_SEQ = 1 << 62


class _NoRoomError(Exception):
    """Takes back what was noted of an append that does not fit."""


class SqliteIntake(SqliteLookup):
    """Files and batches, as clients see and steer them."""

    async def add_file(self, file: File) -> None:  # noqa: D102 - contract in base
        await self._database.at_once(lambda tx: tx.run(self._text("add_file"), repo.file_row(file)))

    async def list_files(  # noqa: D102
        self, *, now: int, after: str | None, limit: int, ascending: bool, purpose: str | None
    ) -> Page[File] | None:
        async with self._database.read() as tx:
            start = await self._cursor(tx, "file_seq", after, 0 if ascending else _LAST_SEQ)
            if start is None:
                return None
            rows = await tx.rows(
                self._text("list_files_up" if ascending else "list_files_down"),
                {"after": start, "now": now, "purpose": purpose, "limit": limit + 1},
            )
        return Page([repo.to_file(r) for r in rows[:limit]], has_more=len(rows) > limit)

    async def delete_file(self, file_id: str) -> bool:  # noqa: D102
        async with self._database.write() as tx:
            row = await tx.row(self._text("delete_file"), {"id": file_id})
            if row:
                await self._discard(tx, row["blob_key"])
        return row is not None

    async def add_batch(  # noqa: D102
        self,
        new: NewBatch,
        *,
        file: File | None = None,
        key: UsedKey | None = None,
        replaces_key: bool = False,
    ) -> Batch | None:
        def add(tx: Direct) -> Batch | None:
            if key is not None:
                if replaces_key:
                    tx.run(self._text("drop_key"), {"key": key.key})
                tx.run(self._text("drop_old_keys"), {"now": new.created_at})
                if not tx.run(self._text("add_key"), repo.key_row(key)):
                    return None
            if file is not None:
                tx.run(self._text("add_file"), repo.file_row(file))
            row = tx.row(self._text("add_batch"), repo.new_batch_row(new))
            assert row is not None, "an insert returns its row"
            return repo.to_batch(row)

        return await self._database.at_once(add)

    async def append(  # noqa: D102
        self, batch_id: str, append: Append, *, limits: AppendLimits, now: int
    ) -> Added | Refused:
        def add(tx: Direct) -> Added | Refused:
            batch = tx.row(self._text("taking_requests"), {"id": batch_id, "now": now})
            if batch is None:
                return Refused.CLOSED
            seq, total = batch["seq"], batch["total"]
            note = self._text("add_appended_id")
            new = [line for line in append.lines if tx.run(note, (seq, line.digest))]
            size_bytes = sum(line.length_bytes for line in new)
            room = (limits.lines - total, limits.bytes - batch["appended_bytes"])
            if len(new) > room[0] or size_bytes > room[1]:
                raise _NoRoomError
            if new:
                slices = cut(seq, new, append=append.number, first=total)
                tx.run_many(self._text("add_slice"), [repo.slice_row(piece) for piece in slices])
                grown = {"lines": len(new), "bytes": size_bytes, "model": append.model}
                tx.run(self._text("grow"), grown | {"batch_seq": seq})
            failpoint("append.rows")
            return Added(len(new), len(append.lines) - len(new), total + len(new))

        try:
            added = await self._database.at_once(add)
        except _NoRoomError:
            return Refused.FULL
        self._moved.set()
        return added

    async def finalize(self, batch_id: str, *, now: int) -> Batch | None:  # noqa: D102
        def finalize(tx: Direct) -> None:
            closed = tx.row(self._text("finalize"), {"id": batch_id})
            if closed:
                tx.run(self._text("drain"), {"batch_seq": closed["seq"], "now": now})

        await self._database.at_once(finalize)
        self._moved.set()
        return await self.get_batch(batch_id)

    async def used_key(self, key: str, *, now: int) -> UsedKey | None:  # noqa: D102
        async with self._database.read() as tx:
            row = await tx.row(self._text("get_key"), {"key": key, "now": now})
        return repo.to_key(row) if row else None

    async def list_batches(  # noqa: D102
        self, *, after: str | None, limit: int, statuses: Collection[BatchStatus] = ()
    ) -> Page[Batch] | None:
        async with self._database.read() as tx:
            start = await self._cursor(tx, "batch_seq", after, _LAST_SEQ)
            if start is None:
                return None
            rows = await tx.rows(
                self._text("list_batches_of" if statuses else "list_batches"),
                {"after": start, "limit": limit + 1, "statuses": as_json(sorted(statuses))},
            )
        return Page([repo.to_batch(r) for r in rows[:limit]], has_more=len(rows) > limit)

    async def list_batches_of(  # noqa: D102
        self, endpoint: str, *, after: str | None = None, before: str | None = None, limit: int
    ) -> Page[Batch] | None:
        name = "list_batches_behind" if before is None else "list_batches_before"
        async with self._database.read() as tx:
            start = await self._cursor(tx, "batch_seq", before or after, _LAST_SEQ)
            if start is None:
                return None
            rows = await tx.rows(
                self._text(name), {"endpoint": endpoint, "seq": start, "limit": limit + 1}
            )
        found = [repo.to_batch(r) for r in rows[:limit]]
        return Page(found if before is None else found[::-1], has_more=len(rows) > limit)

    async def cancel_batch(self, batch_id: str, *, now: int) -> Batch | None:  # noqa: D102
        def cancel(tx: Direct) -> None:
            moved = tx.row(self._text("cancel_batch"), {"id": batch_id, "now": now})
            if moved:
                self._revoke(tx, moved["seq"], SliceState.CANCELLED)

        await self._database.at_once(cancel)
        return await self.get_batch(batch_id)

    async def pause_batch(self, batch_id: str, *, now: int) -> Batch | None:  # noqa: D102
        async with self._database.write() as tx:
            await tx.run(self._text("pause_batch"), {"id": batch_id, "now": now})
            row = await tx.row(self._text("get_batch"), {"id": batch_id})
        return repo.to_batch(row) if row else None

    async def resume_batch(self, batch_id: str) -> Batch | None:  # noqa: D102
        async with self._database.write() as tx:
            await tx.run(self._text("resume_batch"), {"id": batch_id})
            row = await tx.row(self._text("get_batch"), {"id": batch_id})
        return repo.to_batch(row) if row else None

    async def delete_batch(self, batch_id: str) -> bool:  # noqa: D102
        async with self._database.write() as tx:
            gone = await tx.row(self._text("delete_batch"), {"id": batch_id})
            if gone is None:
                return False
            files = [gone["output_file_id"], gone["error_file_id"]]
            if await tx.row(self._text("shares_input"), {"input_key": gone["input_key"]}) is None:
                files.append(gone["input_file_id"])
            for file_id in filter(None, files):
                if file := await tx.row(self._text("delete_file"), {"id": file_id}):
                    await self._discard(tx, file["blob_key"])
        return True

    async def _cursor(
        self, tx: Transaction, statement: str, after: str | None, default: int
    ) -> int | None:
        if after is None:
            return default
        row = await tx.row(self._text(statement), {"id": after})
        return row["seq"] if row else None
