"""The time, for everything that decides by it: one object, given to constructors; tests give another."""

from __future__ import annotations

import asyncio
import time


class Clock:
    """The clock of this host."""

    def now(self) -> float:
        """Return the time of day, in Unix seconds. It may jump, either way."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never jump: only their differences mean anything."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for so long."""
        await asyncio.sleep(seconds)
