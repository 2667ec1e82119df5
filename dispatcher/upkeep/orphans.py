"""Bytes that no row names: left by a crash between a rename and its row, or by a late result.

A pass lists all blobs piece by piece. What no row names is noted, and deleted when a later pass, an hour
on, finds it still unnamed: a row follows its bytes within seconds. Nothing is read from file times. Beside
a database that they do not belong to, no bytes are touched at all.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from batchline.blobs import Blobs
from batchline.blobs.keys import OWNER_KEY, PREFIXES
from batchline.clock import Clock
from batchline.errors import NotFound
from batchline.metrics import Metrics
from batchline.store import Upkeep

log = logging.getLogger(__name__)

PATIENCE_S = 3600
_PASS_EVERY_S = 3600.0
_PIECE_EVERY_S = 0.2  # with 500 keys a piece, a million blobs take under 7 minutes
_TEMPORARY_AT_ONCE = 100


class Orphans:
    """The pass under way. Memory is one piece of keys; what was noted lies in the store."""

    def __init__(self, store: Upkeep, blobs: Blobs, *, metrics: Metrics, clock: Clock) -> None:
        self._store = store
        self._blobs = blobs
        self._metrics = metrics
        self._clock = clock
        self._pass: AsyncGenerator[list[str], None] | None = None
        self._began_at = 0

    async def step(self) -> float:
        """Look at one piece of the blobs."""
        if self._pass is None:
            if not await self._is_ours():
                return _PASS_EVERY_S
            await self._drop_abandoned()
            self._pass = self._list()
            self._began_at = int(self._clock.now())
        try:
            keys = await anext(self._pass, None)
            if keys is not None:
                await self._look_at(keys)
                return _PIECE_EVERY_S
            await self._store.forget_unnamed([], seen_before=self._began_at)
        except BaseException:
            await self._pass.aclose()  # a pass that broke begins anew
            self._pass = None
            raise
        self._pass = None
        return _PASS_EVERY_S

    async def _is_ours(self) -> bool:
        """Check that the bytes belong to this database; the first that comes marks them as its own."""
        mine = (await self._store.identity()).encode()
        try:
            owner = await self._blobs.read(OWNER_KEY)
        except NotFound:
            writer = self._blobs.create(OWNER_KEY)
            await writer.write(mine)
            await writer.commit()
            return True
        if owner != mine:
            log.error(
                "The files here belong to another database, so that what looks unneeded may not be: "
                "none is deleted. If the old database is lost for good, delete the file "
                "blobs/%s in the data directory.",
                OWNER_KEY,
            )
        return owner == mine

    async def _list(self) -> AsyncGenerator[list[str], None]:
        for prefix in PREFIXES:
            async with aclosing(self._blobs.keys(prefix)) as pieces:
                async for piece in pieces:
                    yield piece

    async def _drop_abandoned(self) -> None:
        while True:
            found, found_bytes = await self._blobs.drop_abandoned(at_most=_TEMPORARY_AT_ONCE)
            self._count("temporary", found, found_bytes)
            if found < _TEMPORARY_AT_ONCE:
                return

    async def _look_at(self, keys: list[str]) -> None:
        now = int(self._clock.now())
        orphans = await self._store.note_unnamed(keys, now=now, first_seen_before=now - PATIENCE_S)
        if not orphans:
            return
        found_bytes = 0
        for key in orphans:
            found_bytes += await self._blobs.size(key) or 0
            await self._blobs.delete(key)
        await self._store.forget_unnamed(orphans, seen_before=0)
        self._count("unnamed", len(orphans), found_bytes)

    def _count(self, kind: str, found: int, found_bytes: int) -> None:
        if found:
            log.warning(
                "deleted %d %s blobs that nothing needs: %d bytes", found, kind, found_bytes
            )
        self._metrics.orphan_blobs.labels(kind).inc(found)
        self._metrics.orphan_bytes.labels(kind).inc(found_bytes)
