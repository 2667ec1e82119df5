"""The SQLite engine: the store put together from its parts, one for each protocol of the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from batchline.store.database.connection import open_database
from batchline.store.engine import Store

from .conduct import SqliteConduct
from .intake import SqliteIntake
from .leases import SqliteLeases
from .outcomes import SqliteOutcomes
from .results import SqliteResults
from .upkeep import SqliteUpkeep
from .uploads import SqliteUploads
from .view import SqliteView
from .webhooks.endpoints import SqliteEndpoints
from .webhooks.outbox import SqliteOutbox


class SqliteStore(
    SqliteIntake,
    SqliteUploads,
    SqliteResults,
    SqliteView,
    SqliteConduct,
    SqliteLeases,
    SqliteOutcomes,
    SqliteUpkeep,
    SqliteEndpoints,
    SqliteOutbox,
):
    """All of the contract over one database file."""


@asynccontextmanager
async def open_store(  # noqa: D103 - contract in store.engine
    path: Path, *, clock_ms: Callable[[], int]
) -> AsyncIterator[Store]:
    database = await open_database(path)
    try:
        yield SqliteStore(database, clock_ms=clock_ms)
    finally:
        await database.close()
