"""Places in flight to the upstream, shared fairly: who waits gets them in turn, one for each call.

So a call of one request waits for one place of each other call, however many requests those have.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_Places = OrderedDict[asyncio.Future[None], None]
"""Of one call, in the order in which its requests came."""


class Slots:
    """So many places, and the calls that wait for them."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: OrderedDict[object, _Places] = OrderedDict()  # whose turn it is comes first

    @asynccontextmanager
    async def one(self, call: object) -> AsyncIterator[None]:
        """Hold a place while the body runs; waits until there is one."""
        await self._take(call)
        try:
            yield
        finally:
            self._give()

    async def _take(self, call: object) -> None:
        if self._free:
            self._free -= 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(call, OrderedDict())[place] = None
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._forget(call, place)
            else:  # it was given in the same turn of the loop
                self._give()
            raise

    def _give(self) -> None:
        while self._waiting:
            call, places = self._waiting.popitem(last=False)
            place, _ = places.popitem(last=False)
            if places:
                self._waiting[call] = places  # behind the others
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _forget(self, call: object, place: asyncio.Future[None]) -> None:
        """Take a place out that nobody waits for any more, unless its turn has just come."""
        places = self._waiting.get(call, OrderedDict())
        places.pop(place, None)
        if not places:
            self._waiting.pop(call, None)
