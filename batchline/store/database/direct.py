"""A transaction in the thread of its connection: no hop between statements, so nobody waits long."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .database_errors import is_busy

BUSY_S = 15.0
"""Another process holds the write lock for one commit at most, even on a slow disk."""
ASKS_EVERY_MS = 2
"""Of a connection that writes. SQLite itself would ask less and less often, up to ten times a second: it
would get no turn for long beside a process that writes all the time."""

Params = Mapping[str, Any] | Sequence[Any]
T = TypeVar("T")


def when_free(work: Callable[[], T], *, busy_s: float = BUSY_S) -> T:
    """Do what needs the write lock, as soon as no other process has it."""
    deadline = time.monotonic() + busy_s
    while True:
        try:
            return work()
        except sqlite3.OperationalError as exc:
            if not is_busy(exc) or time.monotonic() > deadline:
                raise


def begin(connection: sqlite3.Connection, *, busy_s: float = BUSY_S) -> None:
    """Begin a write transaction."""
    when_free(lambda: connection.execute("BEGIN IMMEDIATE"), busy_s=busy_s)


class Direct:
    """The open write transaction of `Database.at_once`: run statements, fetch rows, count changes."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, sql: str, params: Params = ()) -> int:
        """Run one statement; return how many rows it changed."""
        return self._connection.execute(sql, params).rowcount

    def run_many(self, sql: str, rows: Sequence[Params]) -> int:
        """Run one statement for each row of parameters; return how many rows changed in all."""
        return self._connection.executemany(sql, rows).rowcount

    def rows(self, sql: str, params: Params = ()) -> list[sqlite3.Row]:
        """Run one statement and return its rows."""
        return self._connection.execute(sql, params).fetchall()

    def row(self, sql: str, params: Params = ()) -> sqlite3.Row | None:
        """Run one statement and return its first row, or None."""
        rows = self.rows(sql, params)
        return rows[0] if rows else None
