"""`Intake` and `View` on SQLite: files, batches, lists, the overview."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import aiosql
import msgspec

from batchline.blobs.keys import finish_index_key, owner_of, result_key
from batchline.model import Batch, File, FleetReport, NewBatch, Overview, Page, UsedKey
from batchline.states import BatchStatus, SliceState
from batchline.store import repo
from batchline.store.database.connection import Database, Transaction
from batchline.store.database.direct import Direct
from batchline.store.database.look import look

_SQL_FILE = Path(__file__).parents[1] / "sql" / "sqlite.sql"
_LAST_SEQ = 1 << 62


@cache
def _statements() -> Any:
    return aiosql.from_path(_SQL_FILE, "aiosqlite", mandatory_parameters=False)


def statement(name: str) -> str:
    """Return the text of a named statement."""
    text: str = getattr(_statements(), name).sql
    return text


def as_json(value: Sequence[object]) -> str:
    """Write a list for json_each."""
    return msgspec.json.encode(value).decode()


def last_report(path: Path) -> FleetReport | None:
    """Return what a dispatcher last reported to the database at `path`, which is left as it is.

    For whoever is no part of the running system (`doctor`). Raises StoreUnavailable.
    """
    row = look(path, statement("get_report"))
    return repo.to_report(row["body"]) if row else None


class SqliteParts:
    """What the parts of the engine share: the database and the named statements."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _text(self, name: str) -> str:
        return statement(name)

    async def _discard(self, tx: Transaction, blob_key: str) -> None:
        """Leave the bytes of a file whose row is gone to the sweep.

        The finish index of a batch goes with the last of its result files.
        """
        await tx.run(self._text("add_garbage"), {"key": blob_key})
        if blob_key.startswith("results/") and (batch_id := owner_of(blob_key)):
            await tx.run(
                self._text("finish_index_to_garbage"),
                {
                    "key": finish_index_key(batch_id),
                    "output": result_key(batch_id, "output"),
                    "error": result_key(batch_id, "error"),
                },
            )

    def _revoke(self, tx: Direct, batch_seq: int, state: SliceState) -> None:
        tx.run(self._text("revoke_slices"), {"batch_seq": batch_seq, "state": state})

    def _take_key(self, tx: Direct, used: UsedKey, *, now: int) -> bool:
        """Note what the key makes; False if it is taken."""
        tx.run(self._text("drop_old_keys"), {"now": now})
        return tx.run(self._text("add_key"), repo.key_row(used)) > 0

    def _insert_file(self, tx: Direct, file: File) -> None:
        tx.run(self._text("add_file"), repo.file_row(file))

    def _insert_batch(self, tx: Direct, new: NewBatch) -> Batch:
        row = tx.row(self._text("add_batch"), repo.new_batch_row(new))
        assert row is not None, "an insert returns its row"
        return repo.to_batch(row)


class SqliteIntake(SqliteParts):
    """The gateway's and the dashboard's part of the store."""

    async def add_file(self, file: File) -> None:  # noqa: D102 - contract in base
        await self._database.at_once(lambda tx: self._insert_file(tx, file))

    async def get_file(self, file_id: str, *, now: int) -> File | None:  # noqa: D102
        async with self._database.read() as tx:
            row = await tx.row(self._text("get_file"), {"id": file_id, "now": now})
        return repo.to_file(row) if row else None

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

    async def add_batch(self, new: NewBatch) -> Batch:  # noqa: D102
        return await self._database.at_once(lambda tx: self._insert_batch(tx, new))

    async def add_batch_once(self, new: NewBatch, used: UsedKey) -> Batch | None:  # noqa: D102
        def add(tx: Direct) -> Batch | None:
            is_first = self._take_key(tx, used, now=new.created_at)
            return self._insert_batch(tx, new) if is_first else None

        return await self._database.at_once(add)

    async def add_batch_noted(self, new: NewBatch, used: UsedKey) -> Batch:  # noqa: D102
        def add(tx: Direct) -> Batch:
            tx.run(self._text("drop_key"), {"key": used.key})
            self._take_key(tx, used, now=new.created_at)
            return self._insert_batch(tx, new)

        return await self._database.at_once(add)

    async def used_key(self, key: str, *, now: int) -> UsedKey | None:  # noqa: D102
        async with self._database.read() as tx:
            row = await tx.row(self._text("get_key"), {"key": key, "now": now})
        return repo.to_key(row) if row else None

    async def get_batch(self, batch_id: str) -> Batch | None:  # noqa: D102
        async with self._database.read() as tx:
            row = await tx.row(self._text("get_batch"), {"id": batch_id})
        return repo.to_batch(row) if row else None

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

    async def cancel_batch(self, batch_id: str, *, now: int) -> Batch | None:  # noqa: D102
        def cancel(tx: Direct) -> None:
            moved = tx.row(self._text("cancel_batch"), {"id": batch_id, "now": now})
            if moved:
                self._revoke(tx, moved["seq"], SliceState.CANCELLED)

        await self._database.at_once(cancel)
        return await self.get_batch(batch_id)

    async def fleet_report(self) -> FleetReport | None:  # noqa: D102
        async with self._database.read() as tx:
            row = await tx.row(self._text("get_report"))
        return repo.to_report(row["body"]) if row else None

    async def check_writable(self) -> None:  # noqa: D102
        async with self._database.write() as tx:
            # An update to the same value would write no page, and a full disk go unnoticed.
            await tx.run(self._text("add_garbage"), {"key": ""})
            await tx.run(self._text("forget_garbage"), {"key": ""})

    async def overview(self, *, finished_limit: int, now: int) -> Overview:  # noqa: D102
        del now
        async with self._database.read() as tx:
            running = await tx.rows(self._text("open_batches"))
            ended = await tx.rows(self._text("finished_batches"), {"limit": finished_limit})
            storage = await tx.row(self._text("storage"))
        assert storage is not None
        sizes = await self._database.sizes()
        return Overview(
            open_batches=[repo.to_batch(r) for r in running],
            finished=[repo.to_batch(r) for r in ended],
            report=await self.fleet_report(),
            files=storage["files"],
            files_bytes=storage["bytes"],
            database_bytes=sizes.database_bytes + sizes.log_bytes,
        )

    async def _cursor(
        self, tx: Transaction, statement: str, after: str | None, default: int
    ) -> int | None:
        if after is None:
            return default
        row = await tx.row(self._text(statement), {"id": after})
        return row["seq"] if row else None
