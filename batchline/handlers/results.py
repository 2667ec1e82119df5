"""The results of a batch as a stream: in input order, read only as fast as they are taken."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from .result import Result


class Results:
    """Iterate over it with `async for`, or over `chunks`; once."""

    def __init__(self, pieces: AsyncIterator[Sequence[Result]], *, start: int = 0) -> None:
        """Begin with what follows the first `start` results."""
        self.taken = start
        """How many were given out, those that an earlier attempt handled included."""
        self._pieces = pieces
        self._piece: Sequence[Result] = ()
        self._next = 0

    def __aiter__(self) -> Results:
        return self

    async def __anext__(self) -> Result:
        while self._next >= len(self._piece):
            self._piece, self._next = await anext(self._pieces), 0
        found = self._piece[self._next]
        self._next += 1
        self.taken += 1
        return found

    async def chunks(
        self, most: int, *, most_bytes: int | None = None
    ) -> AsyncIterator[list[Result]]:
        """Yield lists of `most` results; the last may be shorter.

        With `most_bytes` each ends, too, with the result at which its lines come to so many.
        """
        chunk: list[Result] = []
        size = 0
        async for result in self:
            chunk.append(result)
            size += len(result.raw) + len(result.raw_request or b"")
            if len(chunk) == most or (most_bytes is not None and size >= most_bytes):
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk
