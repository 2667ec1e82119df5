"""Which models the backends serve, as a batch that comes is to know it: asked anew, and of all of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from batchline.clock import Clock
from batchline.errors import NoDescriptors

from .asker import Asker

_ASK_AGAIN_S = 1.0  # admissions that come together share one answer


class ServedModels:
    """What all backends list: served names, aliases and adapters."""

    def __init__(self, urls: Sequence[str], asker: Asker, *, clock: Clock) -> None:
        self._urls = urls
        self._asker = asker
        self._clock = clock
        self._asking = asyncio.Lock()
        self._served: frozenset[str] | None = None
        self._asked_at = -math.inf

    async def ask(self) -> frozenset[str] | None:
        """Ask every backend which models it serves now.

        None unless all of them are alive and list some model: then nobody knows what would be served.
        """
        async with self._asking:
            if self._clock.monotonic() - self._asked_at >= _ASK_AGAIN_S:
                try:
                    self._served = await self._ask_all()
                except NoDescriptors:
                    return None
                self._asked_at = self._clock.monotonic()
            return self._served

    async def _ask_all(self) -> frozenset[str] | None:
        health = await asyncio.gather(*(self._asker.health(url) for url in self._urls))
        if any(heard.trouble is not None for heard in health):
            return None
        lists = await asyncio.gather(*(self._asker.models(url) for url in self._urls))
        return frozenset(m for models in lists for m in models) if all(lists) else None
