"""Group commit: what waits for the writer at the same time is one transaction, each piece by itself."""

from __future__ import annotations

import asyncio
import sqlite3

import pytest
from waiting import turn, until

from batchline.errors import StoreUnavailable
from batchline.store.database.connection import open_database


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


def held_up(path):
    """Keep others from writing, as another process does; its ROLLBACK lets them go."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


@pytest.fixture
async def told(database):
    """The statements that the writing connection was given so far."""
    found = []
    await database._writer.set_trace_callback(found.append)
    return found


async def until_begun(told):
    """Wait until a transaction waits for the lock, in the connection's thread."""
    await until(lambda: "BEGIN IMMEDIATE" in told)


async def together(database, path, told, *works):
    """Have these works wait while another one is under way; return what became of each."""
    other = held_up(path)
    first = asyncio.ensure_future(database.at_once(note("first")))
    await until_begun(told)
    waiting = [asyncio.ensure_future(database.at_once(work)) for work in works]
    await turn()
    other.execute("ROLLBACK")
    other.close()
    ends = await asyncio.gather(first, *waiting, return_exceptions=True)
    return ends[1:]


async def test_what_waits_together_is_one_transaction_with_a_result_for_each(
    database, tmp_path, told
):
    """And all are durable."""
    ends = await together(database, tmp_path / "db.sqlite3", told, *map(note, "abc"))

    assert ends == ["a", "b", "c"]
    assert told.count("COMMIT") == 2
    assert await keys(database) == {"first", "a", "b", "c"}


@pytest.mark.parametrize("then", [fail, lambda tx: tx.run("SELECT nonsense")])
async def test_a_piece_that_fails_takes_nothing_back_but_its_own(database, tmp_path, told, then):
    """Those before and after it are done."""
    works = [note("a"), note("b", then), note("c")]
    ends = await together(database, tmp_path / "db.sqlite3", told, *works)

    assert (ends[0], ends[2]) == ("a", "c")
    assert isinstance(ends[1], StoreUnavailable)
    assert await keys(database) == {"first", "a", "c"}


async def test_where_the_transaction_is_lost_every_piece_fails(database, tmp_path, told):
    """SQLite rolls back by itself when the disk is full: nobody is told that his rows are there."""
    works = [note("a"), note("b", lambda tx: tx.run("ROLLBACK")), note("c")]
    ends = await together(database, tmp_path / "db.sqlite3", told, *works)

    assert [isinstance(end, StoreUnavailable) for end in ends] == [True] * 3
    assert await keys(database) == {"first"}
    assert await database.at_once(note("d")) == "d"


async def test_a_caller_that_is_cancelled_takes_nobody_along(database, tmp_path, told):
    """One that waits is not done; one whose transaction has begun is, with all others in it."""
    other = held_up(tmp_path / "db.sqlite3")
    first = asyncio.ensure_future(database.at_once(note("first")))
    await until_begun(told)
    waiting = asyncio.ensure_future(database.at_once(note("waiting")))
    third = asyncio.ensure_future(database.at_once(note("third")))
    await turn()
    first.cancel()
    waiting.cancel()
    await turn()
    other.execute("ROLLBACK")
    other.close()

    assert await third == "third"
    assert first.cancelled()
    assert waiting.cancelled()
    assert await keys(database) == {"first", "third"}


async def test_more_pieces_than_one_transaction_takes_are_all_done(database, tmp_path, told):
    """In the order in which they came."""
    works = [note(f"k{n}") for n in range(100)]
    ends = await together(database, tmp_path / "db.sqlite3", told, *works)

    assert ends == [f"k{n}" for n in range(100)]
    assert len(await keys(database)) == 101
    assert told.count("COMMIT") == 5
