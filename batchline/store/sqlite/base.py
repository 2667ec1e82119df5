"""What the parts of the SQLite engine share: the database, its named statements, steps that several take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import aiosql
import msgspec

from batchline.blobs.keys import (
    appends_prefix,
    finish_index_key,
    owner_of,
    parts_prefix,
    result_key,
    segments_prefix,
)
from batchline.model import Batch, Lease
from batchline.states import SliceState
from batchline.store.database.connection import Database, Transaction
from batchline.store.database.direct import Direct

_SQL_FILES = ("sqlite.sql", "outbox.sql")


@cache
def _statements() -> Any:
    folder = Path(__file__).parents[1] / "sql"
    script = "\n".join((folder / name).read_text("utf-8") for name in _SQL_FILES)
    return aiosql.from_str(script, "aiosqlite", mandatory_parameters=False)


def statement(name: str) -> str:
    """Return the text of a named statement."""
    text: str = getattr(_statements(), name).sql
    return text


def as_json(value: Sequence[object]) -> str:
    """Write a list for json_each."""
    return msgspec.json.encode(value).decode()


def lease_key(lease: Lease) -> dict[str, int]:
    """Name the row of a lease's slice, and the token that it must hold."""
    return {
        "batch_seq": lease.slice.batch_seq,
        "first": lease.slice.first,
        "token": lease.token,
    }


class SqliteParts:
    """One part of the engine, on the database of all. `clock_ms` counts leases."""

    def __init__(self, database: Database, *, clock_ms: Callable[[], int]) -> None:
        self._database = database
        self._clock_ms = clock_ms
        self._moved = asyncio.Event()
        """Set when a batch moved on here: the database tells of other processes only."""

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

    async def _drop_parts(self, tx: Transaction, upload_id: str) -> None:
        """Leave the parts of an upload that has ended, and what they were joined into, to the sweep."""
        await tx.run(self._text("joining_to_garbage"), {"id": upload_id})
        await tx.run(self._text("drop_parts"), {"upload_id": upload_id})
        await tx.run(self._text("add_garbage"), {"key": parts_prefix(upload_id)})

    def _revoke(self, tx: Direct, batch_seq: int, state: SliceState) -> None:
        tx.run(self._text("revoke_slices"), {"batch_seq": batch_seq, "state": state})

    def _discard_work(self, tx: Direct, batch: Batch) -> None:
        """Revoke the slices of a batch that has ended, and leave its segments and appends to the sweep."""
        self._revoke(tx, batch.seq, SliceState.CANCELLED)
        tx.run(self._text("add_garbage"), {"key": segments_prefix(batch.id)})
        if batch.appends is not None:
            tx.run(self._text("add_garbage"), {"key": appends_prefix(batch.id)})

    def _settled_lines(self, tx: Direct, lease: Lease) -> frozenset[int]:
        piece = lease.slice
        lines = {"start": piece.first, "stop": piece.first + piece.count}
        rows = tx.rows(self._text("settled_lines"), {"batch_seq": piece.batch_seq} | lines)
        return frozenset(row["line"] for row in rows)
