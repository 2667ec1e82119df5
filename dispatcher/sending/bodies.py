"""The bodies of lines: read with their slice, or one by one where they had to make room (`memory`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from batchline.blobs import Blobs
from batchline.blobs.keys import slice_key
from batchline.errors import NotFound
from batchline.jsonl.request_lines import RequestLine, decode_placed
from batchline.model import Batch, Lease
from batchline.process.failpoints import failpoint
from batchline.results.pieces import pieces
from dispatcher.attempts.leased_slices import ReadyLine

from .memory import Memory

Placed = tuple[int, int, RequestLine]
"""A request, with the place and the length of its line in the slice."""
_Range = tuple[str, int, int]


class Bodies:
    """Reads input files, and what was appended to batches."""

    def __init__(self, blobs: Blobs, memory: Memory) -> None:
        self._blobs = blobs
        self._memory = memory
        self.broken: dict[int, str] = {}
        """Batches (by seq) whose input cannot be read any more, and why."""

    async def read(
        self, slices: Sequence[tuple[Batch, Lease]]
    ) -> AsyncIterator[list[Placed] | None]:
        """Yield the requests of each slice, about a megabyte read at a time; None: its batch is broken.

        Raises StoreUnavailable.
        """
        left = iter(slices)
        ranges = [
            (slice_key(batch, lease.slice), lease.slice.offset_bytes, lease.slice.length_bytes)
            for batch, lease in slices
        ]
        for piece in pieces(ranges):
            for data in await self._read_all(piece):
                yield self._decoded(*next(left), data)

    async def of(self, line: ReadyLine) -> bytes | None:
        """Return the body of a line in flight, read again if need be; None if its batch is broken.

        Waits for room. Raises StoreUnavailable.
        """
        if line.body is None:
            await self._memory.take(line.size_bytes)
            try:
                line.body = await self._read_again(line)
            finally:
                if line.body is None:
                    self._memory.give(line.size_bytes)
        return line.body

    async def _read_all(self, ranges: Sequence[_Range]) -> list[bytes | NotFound]:
        """Read at the price of one thread hop, unless something is gone."""
        try:
            return list(await self._blobs.read_many(ranges))
        except NotFound:
            return [await self._read_one(one) for one in ranges]

    async def _read_one(self, one: _Range) -> bytes | NotFound:
        try:
            return (await self._blobs.read_many([one]))[0]
        except NotFound as exc:
            return exc

    def _decoded(self, batch: Batch, lease: Lease, data: bytes | NotFound) -> list[Placed] | None:
        try:
            if isinstance(data, NotFound):
                raise data
            found = decode_placed(data)
        except (NotFound, ValueError) as exc:  # a line that cannot be decoded is a ValueError
            self.broken[batch.seq] = f"The input file cannot be read any more: {exc}"
            return None
        if len(found) != lease.slice.count:
            self.broken[batch.seq] = "The input file is not what was validated."
            return None
        failpoint("claim.read")
        return found

    async def _read_again(self, line: ReadyLine) -> bytes | None:
        batch = line.held.batch
        key = slice_key(batch, line.held.lease.slice)
        place = (key, line.offset_bytes, line.length_bytes)
        try:
            ((_, _, request),) = decode_placed((await self._blobs.read_many([place]))[0])
        except (NotFound, ValueError) as exc:
            self.broken[batch.seq] = f"The input file cannot be read any more: {exc}"
            return None
        return bytes(request.body)
