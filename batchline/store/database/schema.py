"""The schema of the database: its numbered migrations, what number a database has, and who may write it."""

from __future__ import annotations

import sqlite3
from importlib import resources
from pathlib import Path

from batchline.errors import NewerStore
from batchline.process.failpoints import failpoint

from .direct import BUSY_S, begin
from .look import look


def migrations() -> list[tuple[int, str]]:
    """Return (number, SQL text) of each migration, in order."""
    folder = resources.files("batchline.store") / "sql" / "migrations"
    found = [
        (int(f.name[:4]), f.read_text("utf-8")) for f in folder.iterdir() if f.name[0].isdigit()
    ]
    return sorted(found)


def known_schema() -> int:
    """Return the number of the schema that this version writes."""
    return migrations()[-1][0]


def found_schema(path: Path) -> int:
    """Return the number of the schema of the database at `path`. Raises StoreUnavailable."""
    row = look(path, "PRAGMA user_version")
    assert row is not None, "a pragma has its row"
    return int(row[0])


def schema_of(connection: sqlite3.Connection) -> int:
    """Return the number of the schema as it is now."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def refuse_newer(found: int, path: Path) -> None:
    """Raise NewerStore if a newer version has written the database at `path`."""
    known = known_schema()
    if found > known:
        raise NewerStore(
            f"{path} has schema {found}, this version knows up to {known}: "
            "it was written by a newer batchline. Upgrade, or name another data directory."
        )


def refuse_migrated(found: int, *, known: int) -> None:
    """Raise NewerStore if a newer version has migrated the database under a process that writes."""
    if found > known:
        raise NewerStore(
            f"A newer batchline has brought the database to schema {found} while this process, "
            f"which knows up to {known}, was running. It reads on but writes nothing: "
            "restart it with the new version."
        )


def migrate(connection: sqlite3.Connection, path: Path, *, busy_s: float = BUSY_S) -> None:
    """Bring the database up to date. Raises NewerStore; other processes may do the same meanwhile."""
    known = migrations()
    if schema_of(connection) < known[-1][0]:
        for number, text in known:
            _migrate_to(connection, number, text, busy_s=busy_s)
    refuse_newer(schema_of(connection), path)


def statements(script: str) -> list[str]:
    """Cut an SQL script into its statements."""
    found, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            found.append(current)
            current = ""
    return found


def _migrate_to(connection: sqlite3.Connection, number: int, text: str, *, busy_s: float) -> None:
    """Do one migration whole or not at all, unless another process has done it."""
    begin(connection, busy_s=busy_s)
    try:
        if schema_of(connection) < number:
            for statement in statements(text):
                connection.execute(statement)
                failpoint("migrate.statement")
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite may have rolled back by itself
            connection.execute("ROLLBACK")
        raise
