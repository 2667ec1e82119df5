"""Group commit: what waits for the writer at the same time is one transaction, each piece by itself."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from batchline.errors import StoreUnavailable
from batchline.store.connection import open_database


@pytest.fixture
async def database(tmp_path):
    opened = await open_database(tmp_path / "db.sqlite3")
    yield opened
    await opened.close()


def note(key, then=lambda tx: None):
    """Return a piece of work that writes a row, then does something more."""

    def work(tx):
        tx.run("INSERT INTO garbage (key) VALUES (?)", (key,))
        then(tx)
        return key

    return work


def fail(tx):
    raise StoreUnavailable("this one fails")


async def keys(database):
    async with database.read() as tx:
        return {row["key"] for row in await tx.rows("SELECT key FROM garbage")}


def held_up(database, path):
    """Keep others from writing, as another process does; return what lets go."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


async def together(database, path, *works):
    """Have these works wait at the same time; return what became of each, and how many commits it took."""
    other = held_up(database, path)
    first = asyncio.ensure_future(database.at_once(note("first")))
    await asyncio.sleep(0)
    waiting = [asyncio.ensure_future(database.at_once(work)) for work in works]
    await asyncio.sleep(0)
    before = await other_version(path)
    other.execute("ROLLBACK")
    other.close()
    ends = await asyncio.gather(first, *waiting, return_exceptions=True)
    return ends[1:], await other_version(path) - before


async def other_version(path):
    """Count the commits, as the file's change counter does not in WAL mode: by the rows of the log."""
    with sqlite3.connect(path) as reader:
        return reader.execute("SELECT count(*) FROM garbage").fetchone()[0]


async def test_each_piece_returns_its_own_result(database, tmp_path):
    """And all are durable."""
    ends, rows = await together(database, tmp_path / "db.sqlite3", *map(note, "abc"))

    assert ends == ["a", "b", "c"]
    assert rows == 4
    assert await keys(database) == {"first", "a", "b", "c"}


@pytest.mark.parametrize("then", [fail, lambda tx: tx.run("SELECT nonsense")])
async def test_a_piece_that_fails_takes_nothing_back_but_its_own(database, tmp_path, then):
    """Those before and after it are done."""
    works = [note("a"), note("b", then), note("c")]
    ends, _ = await together(database, tmp_path / "db.sqlite3", *works)

    assert (ends[0], ends[2]) == ("a", "c")
    assert isinstance(ends[1], StoreUnavailable)
    assert await keys(database) == {"first", "a", "c"}


async def test_where_the_transaction_is_lost_every_piece_fails(database, tmp_path):
    """SQLite rolls back by itself when the disk is full: nobody is told that his rows are there."""
    works = [note("a"), note("b", lambda tx: tx.run("ROLLBACK")), note("c")]
    ends, _ = await together(database, tmp_path / "db.sqlite3", *works)

    assert [isinstance(end, StoreUnavailable) for end in ends] == [True] * 3
    assert await keys(database) == {"first"}
    assert await database.at_once(note("d")) == "d"


async def test_a_caller_that_is_cancelled_takes_nobody_along(database, tmp_path):
    """One that waits is not done; one whose transaction has begun is, with all others in it."""
    other = held_up(database, tmp_path / "db.sqlite3")
    begun = asyncio.ensure_future(database.at_once(note("begun")))
    await asyncio.sleep(0.05)  # its transaction waits for the lock, in the connection's thread
    waiting = asyncio.ensure_future(database.at_once(note("waiting")))
    third = asyncio.ensure_future(database.at_once(note("third")))
    await asyncio.sleep(0)
    begun.cancel()
    waiting.cancel()
    await asyncio.sleep(0)
    other.execute("ROLLBACK")
    other.close()

    assert await third == "third"
    assert begun.cancelled()
    assert waiting.cancelled()
    assert await keys(database) == {"begun", "third"}


async def test_more_pieces_than_one_transaction_takes_are_all_done(database, tmp_path):
    """In the order in which they came."""
    ends, _ = await together(
        database, tmp_path / "db.sqlite3", *(note(f"k{n}") for n in range(100))
    )

    assert ends == [f"k{n}" for n in range(100)]
    assert len(await keys(database)) == 101
