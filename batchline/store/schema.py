"""Looking at a database without opening it for work: nothing is migrated, nothing is written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from batchline.errors import StoreUnavailable

from .connection import migrations

_BUSY_S = 5.0


def known_schema() -> int:
    """Return the number of the schema that this version writes."""
    return migrations()[-1][0]


def found_schema(path: Path) -> int:
    """Return the number of the schema of the database at `path`. Raises StoreUnavailable."""
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_S)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as exc:
        raise StoreUnavailable(f"The database at {path} refuses: {exc}") from exc
