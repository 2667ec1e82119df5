"""Memory for the files of lines in flight: half of all there is, so that other lines go on.

Those that wait here hold no file, and those that hold one wait for nothing here: so they always go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class MediaRoom:
    """A part of `memory`, which counts what is taken and makes room by giving up what waits there."""

    def __init__(
        self,
        most_bytes: int,
        *,
        make_room: Callable[[int], bool],
        count: Callable[[int], None],
        freed: asyncio.Event,
    ) -> None:
        """`freed` is set when there is more room in all of the memory."""
        self._most_bytes = most_bytes
        self._make_room = make_room
        self._count = count
        self._freed = freed
        self._turn = asyncio.Lock()
        self.held_bytes = 0

    @property
    def is_waited_for(self) -> bool:
        """Whether a file waits for room."""
        return self._turn.locked()

    async def take(self, size_bytes: int) -> None:
        """Wait until there is room for a file, first come, first served; a larger one goes alone."""
        async with self._turn:
            while self.held_bytes and not self._fits(size_bytes):
                self._freed.clear()
                await self._freed.wait()
            self.held_bytes += size_bytes
            self._count(size_bytes)

    def give(self, size_bytes: int) -> None:
        """Give bytes back."""
        self.held_bytes -= size_bytes
        self._count(-size_bytes)
        self._freed.set()

    def _fits(self, size_bytes: int) -> bool:
        return self.held_bytes + size_bytes <= self._most_bytes and self._make_room(size_bytes)
