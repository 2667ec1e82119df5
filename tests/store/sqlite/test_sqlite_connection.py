"""Opening a database beside another process; transactions that are cancelled."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from waiting import pass_time

from batchline.errors import StoreUnavailable
from batchline.store.database.connection import open_database


def in_the_way(path):
    """Another process that makes the same new database: SQLite refuses a second one at once."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return closing(other)


async def test_who_opens_a_new_database_waits_for_who_makes_it(tmp_path):
    """Gateway and dispatcher start together for the first time: neither dies of it."""
    path = tmp_path / "db.sqlite3"
    with in_the_way(path) as other:
        opening = asyncio.ensure_future(open_database(path))
        await asyncio.wait({opening}, timeout=0.2)
        waits = not opening.done()
        other.execute("COMMIT")
    database = await opening
    await database.close()

    assert waits


async def test_a_database_that_cannot_be_opened_leaves_no_thread(tmp_path):
    """A thread that is left keeps the process from ending, and so from being started again."""
    path = tmp_path / "db.sqlite3"
    before = set(threading.enumerate())
    with in_the_way(path), pytest.raises(StoreUnavailable, match="another process"):
        await open_database(path, busy_s=0.0)

    left = {thread for thread in threading.enumerate() if "connection" in thread.name} - before
    for thread in left:
        thread.join(5)
    assert [thread for thread in left if thread.is_alive()] == []


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
    await pass_time(0.05)  # it is inside BEGIN now, in the connection's thread
    waiting.cancel()
    other.execute("COMMIT")
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await write()

    assert other.execute("SELECT key FROM garbage").fetchall() == [("x",)]
    other.close()
    await database.close()


IN_FOLDERS = """
import asyncio, sys
from pathlib import Path
from batchline.store import open_store
from batchline.store.database.connection import copy_database
from batchline.store.database.schema import found_schema, known_schema

async def main(path, copy):
    async with open_store(path, clock_ms=lambda: 1):
        assert found_schema(path) == known_schema()
    await copy_database(path, copy)
    assert found_schema(copy) == known_schema()

folder = Path(sys.argv[1])
asyncio.run(main(folder / "db.sqlite3", folder / "copy.sqlite3"))
"""


@pytest.mark.parametrize("locale", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "POSIX"}])
@pytest.mark.parametrize("name", ["dätä ?#%ö".encode(), b"caf\xe9"])
def test_a_database_may_lie_in_any_folder_in_any_locale(tmp_path, locale, name):
    """It is opened, looked at and copied where the name says, byte for byte."""
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()

    done = subprocess.run(
        [sys.executable, "-c", IN_FOLDERS, folder],
        env=os.environ | locale,
        capture_output=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert {"copy.sqlite3", "db.sqlite3"} <= {found.name for found in folder.iterdir()}
    assert list(tmp_path.iterdir()) == [folder]
