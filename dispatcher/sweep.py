"""Housekeeping of one store: deadlines, expired files, bytes and rows that nothing needs any more."""

from __future__ import annotations

import logging
from collections.abc import Callable

from batchline.blobs import Blobs
from batchline.store import Work

log = logging.getLogger(__name__)

_GARBAGE_AT_ONCE = 100
_ROWS_AT_ONCE = 20_000  # one short transaction: the gateway's writes wait for it


class Sweep:
    """What has to be looked after now and then; each call does a bounded piece."""

    def __init__(self, store: Work, blobs: Blobs, *, clock: Callable[[], float]) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock

    async def lapse(self) -> None:
        """End the batches whose completion window is over."""
        for batch_id in await self._store.lapse(now=int(self._clock())):
            log.info("%s reached its deadline", batch_id)

    async def clean(self) -> None:
        """Delete a piece of what nothing needs."""
        for upload_id in await self._store.expire_uploads(now=int(self._clock())):
            log.info("%s expired before it was completed", upload_id)
        keys = await self._store.garbage(now=int(self._clock()), limit=_GARBAGE_AT_ONCE)
        for key in keys:
            await self._blobs.delete(key)
        if keys:
            await self._store.forget_garbage(keys)
        await self._store.prune(limit=_ROWS_AT_ONCE)
