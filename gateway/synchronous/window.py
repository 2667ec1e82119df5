"""The micro-batch window: requests of all calls are gathered, then sent together.

    the first opens a group ─► others join it ─► `size` are there, or `interval_s` has passed ─► sent
`Window` decides, on the times it is told; `Gathering` lets requests wait. With an interval of 0, or a size of
1, each is sent at once.
"""

from __future__ import annotations

import asyncio

from batchline.clock import Clock


class Window:
    """How many requests the open group has, and until when it waits for more. Pure."""

    def __init__(self, *, size: int, interval_s: float) -> None:
        self._size = size
        self._interval_s = interval_s
        self.count = 0
        """Of the open group."""
        self.ends_at: float | None = None
        """When the open group is sent at the latest; None while none is open."""

    def join(self, now: float) -> bool:
        """Take a request in; return whether its group is sent now, which closes it."""
        if self.ends_at is None:
            self.ends_at = now + self._interval_s
        self.count += 1
        if self.count < self._size and now < self.ends_at:
            return False
        self.close()
        return True

    def leave(self) -> None:
        """Take a request out again that gave up; without any the group is closed."""
        self.count -= 1
        if not self.count:
            self.close()

    def close(self) -> None:
        """Close the group: the next request opens another."""
        self.count = 0
        self.ends_at = None


class Gathering:
    """Requests that wait for their group to be sent."""

    def __init__(self, window: Window, clock: Clock) -> None:
        self._window = window
        self._clock = clock
        self._sent = asyncio.Event()  # of the open group
        self._timer: asyncio.Task[None] | None = None  # lives while a group waits, no longer

    async def wait(self) -> None:
        """Return when the group that this request joined is sent. Cancelling takes it out."""
        if self._window.join(self._clock.monotonic()):
            self._send()
            return
        if self._timer is None:
            self._timer = asyncio.create_task(self._end(), name="micro-batch window")
        group = self._sent
        try:
            await group.wait()
        except asyncio.CancelledError:
            if not group.is_set():
                self._window.leave()
                if not self._window.count:
                    self._stop_timer()
            raise

    async def _end(self) -> None:
        ends_at = self._window.ends_at
        assert ends_at is not None, "a group is open"
        await self._clock.sleep(ends_at - self._clock.monotonic())
        self._timer = None
        self._window.close()
        self._send()

    def _send(self) -> None:
        self._stop_timer()
        self._sent.set()
        self._sent = asyncio.Event()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
