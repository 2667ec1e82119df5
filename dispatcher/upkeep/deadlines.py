"""Ends the batches whose completion window is over, whatever holds them up."""

from __future__ import annotations

import logging

from batchline.clock import Clock
from batchline.store import Conduct

log = logging.getLogger(__name__)


LAPSE_EVERY_S = 1.0


class Deadlines:
    """Ends the batches whose completion window is over, whatever holds them up."""

    def __init__(self, store: Conduct, *, clock: Clock, every_s: float = LAPSE_EVERY_S) -> None:
        self._store = store
        self._clock = clock
        self._every_s = every_s

    async def step(self) -> float:
        """End all that are due."""
        for batch_id in await self._store.lapse(now=int(self._clock.now())):
            log.info("%s reached its deadline", batch_id)
        return self._every_s
