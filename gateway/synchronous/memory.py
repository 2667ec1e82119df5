"""Bytes of requests and answers that calls hold, over all calls and of each.

Whoever takes more than there is gets an error: to wait for room would let calls that hold some wait for each
other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from batchline.errors import TooLarge, Unavailable

_SHARES = 4
SETTING = "BATCHLINE_SYNC_MAX_HELD_BYTES"


class Memory:
    """What all calls hold."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.held_bytes = 0

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Open the share of one call; what it holds at the end is given back."""
        share = Share(self, self._most_bytes // _SHARES)
        try:
            yield share
        finally:
            share.give(share.held_bytes)

    def add(self, size_bytes: int) -> None:
        """Count bytes, or fewer of them. Raises Unavailable: there is no room for more."""
        if size_bytes > 0 and self.held_bytes + size_bytes > self._most_bytes:
            raise Unavailable(
                f"The calls of many requests hold {self._most_bytes} bytes at present, the most allowed "
                f"({SETTING}). Try again later."
            )
        self.held_bytes += size_bytes


class Share:
    """What one call holds: at most a quarter of what all may."""

    def __init__(self, memory: Memory, most_bytes: int) -> None:
        self._memory = memory
        self._most_bytes = most_bytes
        self.held_bytes = 0

    def take(self, size_bytes: int) -> None:
        """Hold so many bytes more. Raises TooLarge: too many for one call; Unavailable: for all."""
        if self.held_bytes + size_bytes > self._most_bytes:
            raise TooLarge(
                f"The requests and answers of one call may have {self._most_bytes} bytes, a quarter of "
                f"{SETTING}. Send fewer requests in a call, or ask for less.",
                code="answers_too_large",
            )
        self._memory.add(size_bytes)
        self.held_bytes += size_bytes

    def give(self, size_bytes: int) -> None:
        """Give bytes back."""
        self._memory.add(-size_bytes)
        self.held_bytes -= size_bytes
