"""The SQLite engine: each method of the store's contract as one short transaction.

Composed of one part per kind of user; the contracts are in `base`, the statements in `sql/sqlite.sql`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from batchline.store.base import Store
from batchline.store.database.connection import Database, open_database

from .intake import SqliteIntake
from .recovery import SqliteRecovery
from .results import SqliteResults
from .steering import SqliteSteering
from .upkeep import SqliteUpkeep
from .uploads import SqliteUploads
from .work import SqliteWork


class SqliteStore(
    SqliteIntake,
    SqliteUploads,
    SqliteResults,
    SqliteSteering,
    SqliteWork,
    SqliteRecovery,
    SqliteUpkeep,
):
    """All of the contract over one database file."""

    def __init__(self, database: Database, *, clock_ms: Callable[[], int]) -> None:
        super().__init__(database)
        self._clock_ms = clock_ms
        self._moved = asyncio.Event()

    async def close_store(self) -> None:
        """Close the connections."""
        await self._database.close()


@asynccontextmanager
async def open_store(path: Path, *, clock_ms: Callable[[], int]) -> AsyncIterator[Store]:
    """Open the store at `path`, migrating it if needed. `clock_ms` counts leases.

    Raises NewerStore, StoreUnavailable.
    """
    store = SqliteStore(await open_database(path), clock_ms=clock_ms)
    try:
        yield store
    finally:
        await store.close_store()
