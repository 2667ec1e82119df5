"""A stream of a loop, read by a thread: libraries that write files pull, and results come asynchronously."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Pulled(Generic[T]):
    """What the stream yields, for one thread that is not the loop's: it goes only as fast as that takes."""

    def __init__(self, stream: AsyncIterator[T], loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._loop = loop

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        found = asyncio.run_coroutine_threadsafe(self._following(), self._loop).result()
        if not found:
            raise StopIteration
        return found[0]

    async def _following(self) -> list[T]:
        """Return the next one, or nothing at the end."""
        try:
            return [await anext(self._stream)]
        except StopAsyncIteration:
            return []
