"""Results in input order, beside the requests that they answer."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from batchline.blobs import Blobs
from batchline.jsonl.result_lines import record_index
from batchline.model import Batch

from .pieces import PIECE_BYTES, Window
from .reader import Reader

_BOM = b"\xef\xbb\xbf"
_REQUEST_BYTES = 4 * PIECE_BYTES
"""Of a piece, and of the request that is the last: hundreds of short answers may be to images."""

Joined = tuple[int, bytes, bytes | None]
"""The index of a request, its result, and its line of the input file where that was asked for."""


async def joined(
    reader: Reader, blobs: Blobs, batch: Batch, *, start: int, with_requests: bool
) -> AsyncGenerator[Sequence[Joined], None]:
    """Yield the results of a batch that has ended, in pieces, from number `start` on (from 0).

    Raises NotFound if bytes are gone.
    """
    requests = _Requests(blobs, batch) if with_requests else None
    number = size_bytes = 0
    async for records in reader.snapshot(batch, Window(0, batch.counts.total)):
        wanted = records[max(0, start - number) :]
        number += len(records)
        piece: list[Joined] = []
        for record in wanted:
            index = record_index(record)
            request = None if requests is None else await requests.at(index)
            piece.append((index, record, request))
            size_bytes += len(request or b"")
            if size_bytes > _REQUEST_BYTES:
                yield piece
                piece, size_bytes = [], 0
        if piece:
            yield piece


class _Requests:
    """The lines of an input file, read forwards once."""

    def __init__(self, blobs: Blobs, batch: Batch) -> None:
        self._chunks: AsyncIterator[bytes] = blobs.stream(batch.input_key, chunk_bytes=PIECE_BYTES)
        self._torn: list[bytes] = []
        self._known: deque[bytes] = deque()
        self._first = 0
        self._is_at_begin = True

    async def at(self, index: int) -> bytes:
        """Return the request of that index, no lower than the one before."""
        while True:
            while self._known and self._first < index:
                self._known.popleft()
                self._first += 1
            if self._known:
                return self._known[0]
            await self._fill()

    async def _fill(self) -> None:
        chunk = await anext(self._chunks, None)
        if chunk is None:
            assert self._torn, "the input file has a line for each result"
            lines, self._torn = [b"".join(self._torn)], []
        else:
            head, *rest = chunk.split(b"\n")
            self._torn.append(head)
            if not rest:
                return
            lines = [b"".join(self._torn), *rest[:-1]]
            self._torn = rest[-1:]
        if self._is_at_begin:
            lines[0] = lines[0].removeprefix(_BOM)
            self._is_at_begin = False
        self._known.extend(line for line in lines if line and not line.isspace())
