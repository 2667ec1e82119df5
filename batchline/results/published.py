"""Results of a batch that has ended: its output and error files, both in input order.

The finish index beside them says where each line lies by the order in which the lines finished.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

from batchline.blobs import Blobs
from batchline.blobs.keys import finish_index_key
from batchline.errors import NotFound
from batchline.jsonl.finish_index import ENTRY_BYTES, Place, unpack
from batchline.jsonl.result_lines import record_index
from batchline.model import Batch, File

from .pieces import PIECE_BYTES, Window, pieces

_ENTRIES_AT_ONCE = 4096


class Published:
    """The lines of one batch that has ended; `error` alone is enough to read what failed."""

    def __init__(
        self, blobs: Blobs, batch: Batch, *, output: File | None, error: File | None
    ) -> None:
        self._blobs = blobs
        self._batch = batch
        self._output = output
        self._error = error

    async def by_finish(self, after: int) -> AsyncIterator[list[bytes]]:
        """Yield the records numbered above `after`: those never run come last, in input order.

        Raises NotFound if bytes are gone.
        """
        async for places in self._places(Window(after, self._batch.counts.total)):
            ranges = [(self._key(p), p.offset, p.length) for p in places]
            for piece in pieces(ranges):
                with self._known_by_its_batch():
                    records = await self._blobs.read_many(piece)
                yield records

    async def by_input(self, window: Window, *, start: int) -> AsyncIterator[list[bytes]]:
        """Yield the records of the window from line `start` on, in input order.

        Raises NotFound if bytes are gone.
        """
        wanted = await self._wanted(window)
        files = [_Lines(self._blobs, file) for file in (self._output, self._error) if file]
        while True:
            for file in files:
                with self._known_by_its_batch():
                    await file.fill()
            files = [file for file in files if file.known]
            if not files:
                return
            upto = min(file.known[-1][0] for file in files)
            found = sorted(item for file in files for item in file.take(upto))
            records = [r for i, r in found if i >= start and (wanted is None or _bit(wanted, i))]
            if records:
                yield records

    async def _wanted(self, window: Window) -> bytearray | None:
        """Return a bit for each line of the window; None where all are wanted."""
        total = self._batch.counts.total
        if window.after == 0 and window.last == total:
            return None
        bits = bytearray(total // 8 + 1)
        async for places in self._places(window):
            for place in places:
                bits[place.line >> 3] |= 1 << (place.line & 7)
        return bits

    async def _places(self, window: Window) -> AsyncIterator[Sequence[Place]]:
        key = finish_index_key(self._batch.id)
        for start in range(window.after, window.last, _ENTRIES_AT_ONCE):
            count = min(_ENTRIES_AT_ONCE, window.last - start)
            with self._known_by_its_batch():
                data = await self._blobs.read(
                    key, offset=start * ENTRY_BYTES, length=count * ENTRY_BYTES
                )
            yield list(unpack(data))

    @contextmanager
    def _known_by_its_batch(self) -> Iterator[None]:
        """Name the batch where bytes are gone, not the blob."""
        try:
            yield
        except NotFound as exc:
            raise NotFound(f"The bytes of the results of {self._batch.id} are gone.") from exc

    def _key(self, place: Place) -> str:
        file = self._error if place.in_error_file else self._output
        assert file is not None, "the index names a file that the batch never had"
        return file.blob_key


class _Lines:
    """One result file, read ahead by a chunk: `known` are (line index, record) not yet taken."""

    def __init__(self, blobs: Blobs, file: File) -> None:
        self._chunks = blobs.stream(file.blob_key, length=file.bytes, chunk_bytes=PIECE_BYTES)
        self._torn: list[bytes] = []  # the line at the end, as far as it was read
        self.known: deque[tuple[int, bytes]] = deque()

    async def fill(self) -> None:
        """Read on if nothing is known; nothing known afterwards is the end."""
        while not self.known and (chunk := await anext(self._chunks, b"")):
            head, *rest = chunk.split(b"\n")
            self._torn.append(head)
            if rest:
                lines = [b"".join(self._torn), *rest[:-1]]
                self._torn = rest[-1:]
                self.known.extend((record_index(line), line + b"\n") for line in lines)

    def take(self, upto: int) -> list[tuple[int, bytes]]:
        """Take what lies at or before line `upto`."""
        taken = []
        while self.known and self.known[0][0] <= upto:
            taken.append(self.known.popleft())
        return taken


def _bit(bits: bytearray, index: int) -> bool:
    return bool(bits[index >> 3] & 1 << (index & 7))
