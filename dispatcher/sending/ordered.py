"""Keys in order, of which any may go at any time: what each costs does not grow with how many there are."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=tuple[int, ...])

_SLACK = 64


class Ordered(Generic[Key]):
    """A set of keys and its smallest. One that was discarded leaves the heap when it comes to the front."""

    def __init__(self) -> None:
        self._heap: list[Key] = []
        self._keys: set[Key] = set()

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._keys)

    def add(self, key: Key) -> None:
        """Put a key in."""
        if key in self._keys:
            return
        self._keys.add(key)
        heapq.heappush(self._heap, key)
        if len(self._heap) > 2 * len(self._keys) + _SLACK:
            self._heap = sorted(self._keys)

    def discard(self, key: Key) -> None:
        """Take a key out, if it is there."""
        self._keys.discard(key)

    def first(self) -> Key | None:
        """Return the smallest key, which stays; None where there is none."""
        while self._heap and self._heap[0] not in self._keys:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None
