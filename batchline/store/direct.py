"""A transaction in the thread of its connection: no hop between statements, so nobody waits long."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

Params = Mapping[str, Any] | Sequence[Any]


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
