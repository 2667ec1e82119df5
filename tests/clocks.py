"""Clocks that tests move."""

from __future__ import annotations

import asyncio

from batchline.clock import Clock


class MovedDay(Clock):
    """Its time of day moves only when told to; seconds and sleeps are the host's. Call it for the time."""

    def __init__(self, at=1_800_000_000.0):
        self.at = at

    def now(self):
        return self.at

    __call__ = now

    def ms(self):
        return int(self.at * 1000)

    def advance(self, seconds):
        self.at += seconds


class MovedClock(MovedDay):
    """All of it moves only when told to: who sleeps wakes when it has moved so far."""

    def __init__(self, at=1_800_000_000.0):
        super().__init__(at)
        self._sleepers = []

    def monotonic(self):
        return self.at

    async def sleep(self, seconds):
        woken = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.at + seconds, woken))
        self.advance(0)
        await woken

    def advance(self, seconds):
        super().advance(seconds)
        for sleeper in [sleeper for sleeper in self._sleepers if sleeper[0] <= self.at]:
            self._sleepers.remove(sleeper)
            if not sleeper[1].done():
                sleeper[1].set_result(None)
