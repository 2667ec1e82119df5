"""Keeping bytes: what makes one moment of a database and the blobs it names stay together.

While anybody keeps bytes, housekeeping deletes none: what becomes garbage waits. The lease is short and
renewed, so that whoever dies holds nothing up. For `backup` and `fsck`, beside running processes.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from batchline.errors import StoreUnavailable
from batchline.store.database.connection import Database, open_database

from .base import SqliteParts

log = logging.getLogger(__name__)

TTL_S = 15.0  # so long garbage waits for one who was killed
_RENEW_EVERY_S = 4.0


class _KeepLease(SqliteParts):
    """The lease of one who keeps bytes."""

    def __init__(self, database: Database, *, clock_ms: Callable[[], int]) -> None:
        super().__init__(database, clock_ms=clock_ms)
        self._holder = secrets.token_hex(6)

    async def keep(self) -> None:
        """Take or renew the lease."""
        now_ms = self._clock_ms()
        lease = self._lease | {"now_ms": now_ms, "until_ms": now_ms + int(TTL_S * 1000)}
        async with self._database.write() as tx:
            await tx.run(self._text("hold"), lease | {"take_over": False})

    async def let_go(self) -> None:
        """Give the lease back, and drop those of others that died."""
        async with self._database.write() as tx:
            await tx.run(self._text("let_go"), self._lease | {"now_ms": self._clock_ms()})

    @property
    def _lease(self) -> dict[str, str]:
        return {"role": f"keep/{self._holder}", "holder": self._holder}


@asynccontextmanager
async def bytes_kept(  # noqa: D103 - contract in engine
    path: Path, *, clock_ms: Callable[[], int]
) -> AsyncIterator[None]:
    database = await open_database(path, may_migrate=False)
    lease = _KeepLease(database, clock_ms=clock_ms)
    try:
        await lease.keep()
        renewing = asyncio.ensure_future(_renew(lease))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with suppress(StoreUnavailable):  # it lapses
                await lease.let_go()
    finally:
        await database.close()


async def _renew(lease: _KeepLease) -> None:
    while True:
        await asyncio.sleep(_RENEW_EVERY_S)
        try:
            await lease.keep()
        except StoreUnavailable as exc:
            log.warning("bytes may be deleted before they are looked at: %s", exc)
