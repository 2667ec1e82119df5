"""What time makes superfluous: expired files, ended batches, rows of their lines, and the bytes of all.

Each step does one bounded piece and says how long to rest. What no row names (and so nothing here finds)
is the affair of `orphans`.
"""

from __future__ import annotations

import logging

from batchline.blobs import Blobs
from batchline.clock import Clock
from batchline.metrics import Metrics
from batchline.process.failpoints import failpoint
from batchline.store import Upkeep

log = logging.getLogger(__name__)

CLEAN_EVERY_S = 5.0
_MORE_S = 0.1
_KEYS_AT_ONCE = 100
_FILES_AT_ONCE = 500
_UPLOADS_AT_ONCE = 100
_BATCHES_AT_ONCE = 100
_ROWS_AT_ONCE = 20_000  # one short transaction: the gateway's writes wait for it


class Sweep:
    """Expired files, ended batches grown old, rows of lines and bytes that nothing needs."""

    def __init__(
        self,
        store: Upkeep,
        blobs: Blobs,
        *,
        metrics: Metrics,
        batch_ttl_s: int,
        clock: Clock,
        every_s: float = CLEAN_EVERY_S,
        files_at_once: int = _FILES_AT_ONCE,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._metrics = metrics
        self._batch_ttl_s = batch_ttl_s
        self._clock = clock
        self._every_s = every_s
        self._files_at_once = files_at_once

    async def step(self) -> float:
        """Do one piece of each; come back at once while a piece was full."""
        try:
            is_more = [
                await self._expire_files(),
                await self._expire_uploads(),
                await self._prune_rows(),
                await self._drop_batches(),
            ]
        finally:  # also where no row can be written, as on a full disk: this makes room
            has_garbage = await self._delete_garbage()
        return _MORE_S if any(is_more) or has_garbage else self._every_s

    async def _expire_files(self) -> bool:
        expired = await self._store.expire_files(
            now=int(self._clock.now()), limit=self._files_at_once
        )
        if expired:
            self._metrics.expired_files.inc(expired)
            log.info("%d files expired", expired)
        return expired >= self._files_at_once

    async def _expire_uploads(self) -> bool:
        expired = await self._store.expire_uploads(
            now=int(self._clock.now()), limit=_UPLOADS_AT_ONCE
        )
        if expired:
            self._metrics.expired_uploads.inc(expired)
            log.info("%d uploads expired before they were completed", expired)
        return expired >= _UPLOADS_AT_ONCE

    async def _prune_rows(self) -> bool:
        rows = await self._store.prune(limit=_ROWS_AT_ONCE)
        self._metrics.pruned_rows.inc(rows)
        return rows > 0

    async def _drop_batches(self) -> bool:
        if not self._batch_ttl_s:
            return False
        before = int(self._clock.now()) - self._batch_ttl_s
        dropped = await self._store.drop_batches(ended_before=before, limit=_BATCHES_AT_ONCE)
        if dropped:
            self._metrics.dropped_batches.inc(dropped)
            log.info("%d ended batches are forgotten", dropped)
        return dropped >= _BATCHES_AT_ONCE

    async def _delete_garbage(self) -> bool:
        keys = await self._store.garbage(limit=_KEYS_AT_ONCE)
        for key in keys:
            await self._blobs.delete(key)
        if keys:
            failpoint("sweep.deleted")
            await self._store.forget_garbage(keys)
        return len(keys) >= _KEYS_AT_ONCE
