"""The engines that the suite runs on, and what it needs of each that no protocol offers.

Another engine is another class here, with the same methods, and one more name in `ENGINES`.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager

from databases import new_database

from batchline.store import sqlite
from batchline.store.database.schema import migrations


class Sqlite:
    """SQLite: one file in a folder."""

    def __init__(self, folder, *, clock_ms):
        self.path = folder / "batchline.sqlite3"
        self._clock_ms = clock_ms

    def open(self):
        return sqlite.open_store(self.path, clock_ms=self._clock_ms)

    def audit(self):
        return sqlite.open_audit(self.path)

    def mending(self):
        return sqlite.open_mending(self.path, clock_ms=self._clock_ms)

    def kept(self):
        return sqlite.bytes_kept(self.path, clock_ms=self._clock_ms)

    def last_report(self):
        return sqlite.last_report(self.path)

    def move_where_nothing_opens(self):
        """From now on the database is named where none can be."""
        self.path.write_text("")
        self.path /= "batchline.sqlite3"

    def make_new(self):
        """Make a database of this version, without rows: sooner than `open` would."""
        new_database(self.path)

    def make_older(self):
        """Make a database of an older schema, without rows."""
        with closing(sqlite3.connect(self.path)) as connection:
            for number, text in migrations()[:6]:
                connection.executescript(text)
                connection.execute(f"PRAGMA user_version = {number}")

    def make_newer(self):
        """Make the database one of a newer version."""
        self._run("PRAGMA user_version = 999")

    @contextmanager
    def refusing(self):
        """Let the database refuse whatever touches a row while the body runs."""
        tables = [
            row[0] for row in self._run("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        names = [name for name in tables if not name.startswith("sqlite_")]
        for name in names:
            self._run(f"ALTER TABLE {name} RENAME TO {name}_away")
        yield
        for name in names:
            self._run(f"ALTER TABLE {name}_away RENAME TO {name}")

    def forget_changes(self):
        """Let so much change that nothing is known of the changes until now."""
        self._run("UPDATE sqlite_sequence SET seq = seq + 200000 WHERE name = 'batch_changes'")

    def lose_segments(self):
        """Lose the segments of all batches, and keep their outcomes."""
        self._run("DELETE FROM segments")

    def _run(self, sql):
        with closing(sqlite3.connect(self.path)) as connection, connection:
            return connection.execute(sql).fetchall()


ENGINES = {"sqlite": Sqlite}
