"""Transactions: whatever is cancelled leaves the connection fit for the next."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from batchline.store.connection import open_database


async def test_a_transaction_cancelled_while_it_begins_does_not_block_the_next(tmp_path):
    """BEGIN waits for another process, is cancelled, and still gets the lock: it is given back."""
    path = tmp_path / "db.sqlite3"
    database = await open_database(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def write():
        async with database.write() as tx:
            await tx.run("INSERT INTO garbage (key) VALUES (?)", ("x",))

    waiting = asyncio.ensure_future(write())
    await asyncio.sleep(0.05)  # it is inside BEGIN now, in the connection's thread
    waiting.cancel()
    other.execute("COMMIT")
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await write()

    assert other.execute("SELECT key FROM garbage").fetchall() == [("x",)]
    other.close()
    await database.close()
