"""One SQLite database file: its two connections and its transactions.

The writer serialises short `BEGIN IMMEDIATE` transactions; the reader never blocks it (WAL). The only
module that imports aiosqlite; foreign errors become StoreUnavailable (DiskFull) here.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import aiosqlite

from batchline.process.disk_errors import disk_refusal

from .database_errors import database_refusal, is_busy
from .direct import ASKS_EVERY_MS, BUSY_S, Direct, Params, begin, when_free
from .group import Piece, Queue, do_all
from .look import read_only
from .schema import found_schema, known_schema, migrate, refuse_migrated, refuse_newer, schema_of

_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # a commit that returned survives a power cut
    "PRAGMA cache_size = -16000",
    "PRAGMA temp_store = MEMORY",
)
_CACHE_OF_READERS = "PRAGMA cache_size = -64000"
_BEFORE_THE_FIRST_TABLE = "PRAGMA auto_vacuum = INCREMENTAL"  # afterwards it only waits and writes
_AGAIN_S = 0.02

T = TypeVar("T")


class _Connection(aiosqlite.Connection):
    """A connection whose thread does a whole function for us: one hop there, however much that is."""

    async def call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        """Run the function in the connection's thread."""
        found: T = await self._execute(function, self._conn)  # type: ignore[no-untyped-call]
        return found


class Transaction:
    """Statements on a connection, each with a hop to its thread: run, fetch rows, count changes.

    From `Database.write` they are one transaction, from `Database.read` each sees its own snapshot.
    """

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    async def run(self, sql: str, params: Params = ()) -> int:
        """Run one statement; return how many rows it changed."""
        return await self._connection.call(lambda c: c.execute(sql, params).rowcount)

    async def run_many(self, sql: str, rows: Sequence[Params]) -> int:
        """Run one statement for each row of parameters; return how many rows changed in all."""
        return await self._connection.call(lambda c: c.executemany(sql, rows).rowcount)

    async def rows(self, sql: str, params: Params = ()) -> list[sqlite3.Row]:
        """Run one statement and return its rows."""
        return list(await self._connection.execute_fetchall(sql, params))

    async def row(self, sql: str, params: Params = ()) -> sqlite3.Row | None:
        """Run one statement and return its first row, or None."""
        rows = await self.rows(sql, params)
        return rows[0] if rows else None


class Moment(Transaction):
    """A read transaction on a connection of its own: all statements see one moment, errors translated."""

    async def rows(self, sql: str, params: Params = ()) -> list[sqlite3.Row]:
        """Run one statement and return its rows. Raises StoreUnavailable."""
        with _translated():
            return await super().rows(sql, params)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the database takes on the disk, and how many of its pages hold nothing."""

    database_bytes: int
    log_bytes: int
    pages: int
    free_pages: int


class Database:
    """The two connections. Opened by `open_database`.

    Two ways to write. `at_once` is for what comes with every batch or slice, by the thousand (add, begin,
    add slices, accept, claim, settle, lapse, cancel, close), and for whatever must not be cancelled half way:
    it holds the lock for as long as its statements take, and shares its transaction with others (`group`).
    `write` is for all the rest, which is rare or a statement or two: each statement waits for the event loop,
    and the lock of the database with it.
    """

    def __init__(self, path: Path, writer: _Connection, reader: _Connection) -> None:
        self._path = path
        self._writer = writer
        self._reader = reader
        self._schema = known_schema()
        self._lock = asyncio.Lock()
        self._queue = Queue()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Run the body as one durable transaction; any exception rolls it back.

        Raises NewerStore once a newer version has migrated the database under this process.
        """
        async with self._lock:
            with _translated(folder=self._path.parent):
                try:
                    await self._writer.call(self._begin)
                    yield Transaction(self._writer)
                    await self._writer.execute("COMMIT")
                except BaseException:
                    await self._roll_back()
                    raise

    async def at_once(self, work: Callable[[Direct], T]) -> T:
        """Do `work` in one durable transaction, as `write`, without a pause: others wait for the lock.

        What waits at the same time shares a transaction. Once begun it runs to its end, even if the caller
        is cancelled meanwhile.
        """
        piece = Piece(work)
        self._queue.add(piece)
        with _translated(folder=self._path.parent):
            try:
                async with self._lock:
                    while not piece.is_taken:
                        group = self._queue.take()
                        await self._writer.call(partial(do_all, group, begin=self._begin))
                    if (
                        not piece.is_done
                    ):  # whoever took it was cancelled: it ends before what follows it
                        await self._writer.call(lambda _: None)
            finally:
                self._queue.leave(piece)
            return piece.result()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """Read what is committed. Each statement sees its own snapshot."""
        with _translated(folder=self._path.parent):
            yield Transaction(self._reader)

    async def version_seen(self) -> int:
        """Return a number that changes when another process has committed."""
        async with self._lock:
            with _translated(folder=self._path.parent):
                return await _number(self._writer, "PRAGMA data_version")

    async def sizes(self) -> Sizes:
        """Measure the files of the database and the pages in them."""
        with _translated(folder=self._path.parent):
            return Sizes(
                database_bytes=await _bytes_of(self._path),
                log_bytes=await _bytes_of(self._path.with_name(self._path.name + "-wal")),
                pages=await _number(self._reader, "PRAGMA page_count"),
                free_pages=await _number(self._reader, "PRAGMA freelist_count"),
            )

    async def vacuum(self, pages: int) -> int:
        """Give up to `pages` unused pages back to the disk; return how many were."""
        count = "PRAGMA freelist_count"
        async with self._lock:
            with _translated(folder=self._path.parent):
                before = await _number(self._writer, count)
                # As a script: this pragma makes a step a page, and execute() takes only the first.
                vacuum = f"PRAGMA incremental_vacuum({int(pages)})"
                await self._writer.call(lambda c: when_free(lambda: c.executescript(vacuum)))
                return max(0, before - await _number(self._writer, count))

    async def checkpoint(self) -> bool:
        """Move the log into the database and shorten its file; False if somebody was in the way.

        On a connection of its own that waits for nobody: the pages are copied and synced beside
        running transactions, only the last moment excludes writers.
        """
        with _translated(folder=self._path.parent):
            async with aiosqlite.connect(self._path, timeout=0, isolation_level=None) as own:
                await own.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")
                return await _number(own, "PRAGMA wal_checkpoint(TRUNCATE)") == 0

    async def close(self) -> None:
        """Close both connections."""
        await self._reader.close()
        await self._writer.close()

    def _begin(self, connection: sqlite3.Connection) -> None:
        begin(connection)
        refuse_migrated(schema_of(connection), known=self._schema)

    async def _roll_back(self) -> None:
        # Always asked for: a cancelled BEGIN may still be under way in the connection's thread, and
        # what is queued behind it runs after it.
        with suppress(sqlite3.OperationalError):  # no transaction was active
            await self._writer.execute("ROLLBACK")


async def open_database(
    path: Path, *, may_migrate: bool = True, busy_s: float = BUSY_S
) -> Database:
    """Open (or create) the database at `path` and bring its schema up to date.

    Without `may_migrate` it is taken as it is, and must exist. Another process in the way is waited for,
    for `busy_s`. Raises NewerStore if a newer version wrote it, StoreUnavailable if it cannot be opened.
    """
    with _translated(path):
        if may_migrate:
            path.parent.mkdir(parents=True, exist_ok=True)
        else:
            await asyncio.to_thread(path.stat)
        found = await asyncio.to_thread(_schema_before, path)
        refuse_newer(found, path)  # before any change
        first = () if found else (_BEFORE_THE_FIRST_TABLE,)
        writer = await _connect(path, *first, busy_s=busy_s)
        try:
            await _set(writer, f"PRAGMA busy_timeout = {ASKS_EVERY_MS}")
            if may_migrate:
                await writer.call(lambda connection: migrate(connection, path, busy_s=busy_s))
            return Database(path, writer, await _connect(path))
        except BaseException:
            await writer.close()
            raise


@asynccontextmanager
async def one_moment(path: Path) -> AsyncIterator[Moment]:
    """See the database at `path` as it is now for as long as the body runs; changes nothing.

    Nobody is kept from writing, but the log grows meanwhile. Raises StoreUnavailable.
    """
    with _translated(path):
        connection = _connect_reader(path)
        await connection
    try:
        with _translated(path):
            connection.row_factory = sqlite3.Row
            # The last one is the first to read, and that is the moment.
            for statement in (_CACHE_OF_READERS, "BEGIN", "PRAGMA schema_version"):
                await connection.execute_fetchall(statement)
        yield Moment(connection)
    finally:
        await connection.close()


async def copy_database(path: Path, target: Path) -> None:
    """Write what is committed at `path` now into a new database at `target`: compact, not synced.

    Nobody is kept from writing meanwhile. Raises StoreUnavailable, DiskFull.
    """
    with _translated(path):
        async with _connect_reader(path) as own:
            await own.execute_fetchall(_CACHE_OF_READERS)
            await own.execute_fetchall("VACUUM INTO CAST(? AS TEXT)", (os.fsencode(target),))


def _schema_before(path: Path) -> int:
    return found_schema(path) if path.exists() else 0


async def _connect(path: Path, *more: str, busy_s: float = BUSY_S) -> _Connection:
    connection = _connection(str(path))
    await connection
    try:
        connection.row_factory = sqlite3.Row
        for pragma in (*more, *_PRAGMAS):
            await _set(connection, pragma, busy_s=busy_s)
    except BaseException:
        await connection.close()  # else its thread keeps the process alive for ever
        raise
    return connection


def _connect_reader(path: Path) -> _Connection:
    """Prepare a connection that changes nothing; it opens when it is awaited or entered."""
    return _connection(read_only(path), uri=True)


def _connection(name: str, *, uri: bool = False) -> _Connection:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(name, timeout=BUSY_S, isolation_level=None, uri=uri)

    return _Connection(connect, iter_chunk_size=64)


async def _set(connection: aiosqlite.Connection, pragma: str, *, busy_s: float = BUSY_S) -> None:
    """Run a pragma, again and again while another process is in the way.

    The first change to WAL needs the file alone. Where two processes want it in the same moment SQLite
    refuses one at once, whatever the busy timeout says: waiting could be a deadlock.
    """
    deadline = time.monotonic() + busy_s
    while True:
        try:
            await connection.execute_fetchall(pragma)
        except sqlite3.OperationalError as exc:
            if not is_busy(exc) or time.monotonic() > deadline:
                raise
        else:
            return
        await asyncio.sleep(_AGAIN_S)


async def _number(connection: aiosqlite.Connection, sql: str) -> int:
    """Return the first column of the first row."""
    return int(next(iter(await connection.execute_fetchall(sql)))[0])


async def _bytes_of(path: Path) -> int:
    try:
        return (await asyncio.to_thread(path.stat)).st_size
    except FileNotFoundError:  # the log, before the first write
        return 0


@contextmanager
def _translated(path: Path | None = None, *, folder: Path | None = None) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as exc:
        raise AssertionError(f"the database refused a row that must be new: {exc}") from exc
    except (sqlite3.Error, OSError) as exc:
        where = f" at {path}" if path else ""
        if isinstance(exc, sqlite3.Error):
            folder = path.parent if path else folder
            raise database_refusal(exc, where=where, folder=folder) from exc
        raise disk_refusal(exc, what=f"the database{where}") from exc
