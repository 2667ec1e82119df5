"""Reading a database that other processes own: changes nothing, and creates nothing."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from .database_errors import database_refusal

_LOOK_S = 5.0


def read_only(path: Path) -> str:
    """Return the URI under which SQLite opens the database at `path` for reading alone."""
    # As bytes: the text of a path is not UTF-8's in every locale.
    return f"file:{quote(os.fsencode(path.absolute()))}?mode=ro"


def look(path: Path, sql: str) -> sqlite3.Row | None:
    """Read one row of the database at `path`. Raises StoreUnavailable."""
    try:
        with closing(sqlite3.connect(read_only(path), uri=True, timeout=_LOOK_S)) as connection:
            connection.row_factory = sqlite3.Row
            row: sqlite3.Row | None = connection.execute(sql).fetchone()
    except sqlite3.Error as exc:
        raise database_refusal(exc, where=f" at {path}", folder=path.parent) from exc
    return row
