r"""The handler `postgres`: each result becomes a row of a table, once. docs/handlers.md tells its settings.

Chunks of results are copied into a temporary table and inserted from there, in one transaction, less those
whose `batch_id` and `custom_id` the table has: whatever an attempt repeats adds nothing. `postgres_rows` says
what the rows hold, and what becomes of characters that PostgreSQL does not keep (`\u0000`, `\ud800`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import msgspec

from batchline.handlers import Context, EndedBatch, GiveUp, Results

from .postgres_rows import COLUMNS, Row, row_of

_CONNECT_S = 30.0
_STATEMENT_S = 300.0
_CLOSE_S = 10.0
_CHUNK_BYTES = 8 << 20
_LONGEST_NAME_BYTES = 63  # PostgreSQL cuts longer ones
_MOST_PARTS = 2
_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
_DOES_NOT_FIT = (
    asyncpg.DataError,
    asyncpg.DatatypeMismatchError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    table: str = "batch_results"
    create_table: bool = True
    requests: bool = False

    @property
    def where(self) -> str:
        """The server and the database, without user and password."""
        url = urlsplit(self.url)
        return url.netloc.rpartition("@")[2] + url.path


class Postgres:
    """Writes results into a table."""

    name = "postgres"
    most_rows = 1000
    """So many are written at once, fewer where they are large."""

    def enabled(self, settings: Mapping[str, Any]) -> bool:
        """Say yes. Raises ValueError: the settings are wrong."""
        _read(settings)
        return True

    def wants_requests(self, settings: Mapping[str, Any]) -> bool:
        """Whether the rows shall have the requests."""
        return _read(settings).requests

    async def handle(self, batch: EndedBatch, results: Results, context: Context) -> None:
        """Write all results. Raises GiveUp: they do not fit into the table."""
        settings = _read(context.settings)
        try:
            async with _connected(settings.url) as connection:
                table = _Table(connection, settings.table)
                if settings.create_table:
                    await table.create()
                async for chunk in results.chunks(self.most_rows, most_bytes=_CHUNK_BYTES):
                    await table.insert([row_of(batch.id, one) for one in chunk])
                    await context.checkpoint()
        except _FAILURES as exc:
            raise _told(exc, settings) from exc


class _Table:
    """The table, by one connection. Each method is one transaction, so that poolers may lie between."""

    def __init__(self, connection: Any, name: str) -> None:
        self._connection = connection
        self._name = _quoted(name)

    async def create(self) -> None:
        """Create it unless it is there: whoever may only insert needs no right to create then."""
        async with self._connection.transaction():
            found = await self._connection.fetchval(_statements()["find_table"], self._name)
            if found is None:
                await self._connection.execute(self._statement("create_table"))

    async def insert(self, rows: Sequence[Row]) -> None:
        """Insert those that it does not have."""
        async with self._connection.transaction():
            await self._connection.execute(self._statement("begin_chunk"))
            await self._copy(rows)
            await self._connection.execute(self._statement("end_chunk"))

    async def _copy(self, rows: Sequence[Row]) -> None:
        try:
            await self._connection.copy_records_to_table(
                "batchline_chunk", records=rows, columns=COLUMNS
            )
        except (TypeError, ValueError, OverflowError) as exc:  # a column has another type than ours
            raise asyncpg.DataError(str(exc)) from exc

    def _statement(self, name: str) -> str:
        columns = ", ".join(f'"{column}"' for column in COLUMNS)
        return _statements()[name].format(table=self._name, columns=columns)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(
        url,
        timeout=_CONNECT_S,
        command_timeout=_STATEMENT_S,
        statement_cache_size=0,  # pgbouncer gives each transaction another connection
        server_settings={"application_name": "batchline"},
    )
    try:
        yield connection
    except BaseException:
        connection.terminate()
        raise
    await connection.close(timeout=_CLOSE_S)


@cache
def _statements() -> Mapping[str, str]:
    text = Path(__file__).with_name("postgres.sql").read_text("utf-8")
    named = [one.partition("\n") for one in text.split("-- name: ")[1:]]
    return {name: statement for name, _, statement in named}


def _read(given: Mapping[str, Any]) -> _Settings:
    """Check the settings. Raises ValueError, without what they hold: it may be secret."""
    settings = msgspec.convert(given, _Settings, strict=False)
    _check_url(settings.url)
    _quoted(settings.table)
    return settings


def _check_url(url: str) -> None:
    example = "such as postgresql://user:password@host:5432/database"
    if urlsplit(url).scheme not in ("postgresql", "postgres"):
        raise ValueError(f"'url' must be the URL of a database, {example}")
    try:
        urlsplit(url).port  # noqa: B018 - it raises
    except ValueError:
        told = "its port is no number; in a password, write / as %2F and @ as %40"
        raise ValueError(f"'url' must be a URL {example}: {told}") from None


def _quoted(table: str) -> str:
    """Quote the name of a table, or of a schema and a table. Raises ValueError."""
    parts = table.split(".")
    if len(parts) > _MOST_PARTS or not all(map(_is_name, parts)):
        raise ValueError(
            f"'table' must be the name of a table, or schema.table, with {_LONGEST_NAME_BYTES} bytes each "
            f"at most, not {table[:200]!r}"
        )
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def _is_name(part: str) -> bool:
    return 0 < len(part.encode()) <= _LONGEST_NAME_BYTES and "\0" not in part


def _told(exc: Exception, settings: _Settings) -> Exception:
    """Say what failed, and whether it would do so again."""
    table, where = settings.table, settings.where
    match exc:
        case asyncpg.UndefinedTableError():
            return LookupError(
                f"{where} has no table {table!r}: create it, or leave out 'create_table: false'"
            )
        case asyncpg.UndefinedColumnError():
            return GiveUp(f"Table {table!r} of {where} does not fit: {exc}.")
        case asyncpg.InvalidColumnReferenceError():
            return GiveUp(
                f"Table {table!r} of {where} needs a primary key, or a unique index, of batch_id and "
                "custom_id: without it, rows would come twice."
            )
        case _ if isinstance(exc, _DOES_NOT_FIT):
            return GiveUp(f"Table {table!r} of {where} does not take the results: {exc}.")
        case TimeoutError():
            return TimeoutError(f"{where} did not answer in time")
        case _:
            return ConnectionError(f"{where}: {exc}")
