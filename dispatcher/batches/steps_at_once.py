"""So many steps at once: long ones apart from short ones, so that nobody waits behind what takes minutes."""

from __future__ import annotations

import asyncio


class Turns:
    """The places of one kind of step. Used as `async with turns.of(is_long=…)`."""

    def __init__(self, *, short: int, long: int) -> None:
        self._short = asyncio.Semaphore(short)
        self._long = asyncio.Semaphore(long)

    def of(self, *, is_long: bool) -> asyncio.Semaphore:
        """Return the places of long or of short ones, first come, first served."""
        return self._long if is_long else self._short
