"""Results of a batch that runs: its outcomes' rows say which lines count, its segments hold the bytes.

Bytes before rows: only lines with a row are seen. Rows and segments go once the batch has ended, so
whoever reads on then raises `Moved`, and the published files have everything.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence

from batchline.blobs import Blobs
from batchline.errors import NotFound
from batchline.model import Batch, Segment
from batchline.states import OUTCOME_CODES, TERMINAL, OutcomeKind
from batchline.store import Results

from .pieces import Range, Window, pieces

_SEGMENTS_AT_ONCE = 64
_ROWS_AT_ONCE = 1024
_KNOWN_LINES = 50_000  # some 10 MB; neighbours in the input finished in few segments
_FAILED = OUTCOME_CODES[OutcomeKind.FAILED]

_Row = tuple[int, int, Segment]
_Places = dict[int, Range]


class Moved(Exception):
    """The batch ended while its segments were read."""


class KnownPlaces:
    """Where the lines of segments lie, of those looked at last: one for all readers, however many wait."""

    def __init__(self, *, most_lines: int = _KNOWN_LINES) -> None:
        self._most_lines = most_lines
        self._places: OrderedDict[tuple[str, int], _Places] = OrderedDict()
        self._lines = 0

    def get(self, batch: Batch, segment: Segment) -> _Places | None:
        """Return what is known of a segment."""
        key = batch.id, segment.number
        if key in self._places:
            self._places.move_to_end(key)
        return self._places.get(key)

    def put(self, batch: Batch, segment: Segment, places: _Places) -> None:
        """Remember a segment, and forget what was not asked for longest."""
        if (batch.id, segment.number) in self._places:
            return
        self._places[batch.id, segment.number] = places
        self._lines += len(places)
        while self._lines > self._most_lines and len(self._places) > 1:
            self._lines -= len(self._places.popitem(last=False)[1])


class Settled:
    """The finished lines of one batch, as long as it is open."""

    def __init__(self, store: Results, blobs: Blobs, batch: Batch, *, known: KnownPlaces) -> None:
        self._store = store
        self._blobs = blobs
        self._batch = batch
        self._known = known

    async def by_finish(self, after: int) -> AsyncIterator[list[bytes]]:
        """Yield the records numbered above `after`, as far as they are settled. Raises Moved."""
        while segments := await self._segments(after):
            for segment in segments:
                if segment.lines_before > after:
                    raise Moved
                places = await self._places(segment)
                rest = list(places.values())[after - segment.lines_before :]
                for piece in pieces(rest):
                    yield await self._read(piece)
                after = segment.last

    async def by_input(
        self, window: Window, *, only_failed: bool
    ) -> AsyncIterator[tuple[int, list[bytes]]]:
        """Yield (index of the next line, records) in input order. Raises Moved."""
        start = 0
        while True:
            rows = await self._store.finished_lines(self._batch, start=start, limit=_ROWS_AT_ONCE)
            found = await self._store.get_batch(self._batch.id)
            if found is None or found.status in TERMINAL:
                raise Moved  # the rows may have been dropped while they were read
            wanted = [row for row in rows if row[1] == _FAILED or not only_failed]
            chosen = await self._within(window, wanted)
            done = 0
            for piece in pieces(place for _, place in chosen):
                done += len(piece)
                yield chosen[done - 1][0] + 1, await self._read(piece)
            if not rows:
                return
            start = rows[-1][0] + 1

    async def _segments(self, after: int) -> list[Segment]:
        return await self._store.segments(self._batch, after=after, limit=_SEGMENTS_AT_ONCE)

    async def _within(self, window: Window, rows: Sequence[_Row]) -> list[tuple[int, Range]]:
        chosen = []
        earlier: dict[int, set[int]] = {}
        for line, _, segment in rows:
            if segment.last <= window.after or segment.lines_before >= window.last:
                continue
            places = await self._places(segment)
            if segment.lines_before < window.after:
                if segment.number not in earlier:
                    count = window.after - segment.lines_before
                    earlier[segment.number] = set(list(places)[:count])
                if line in earlier[segment.number]:
                    continue
            if line not in places:
                raise Moved
            chosen.append((line, places[line]))
        return chosen

    async def _places(self, segment: Segment) -> _Places:
        """Return where the lines that count lie in the segment, in the order in which they finished."""
        places = self._known.get(self._batch, segment)
        if places is None:
            places = await self._look_up(segment)
            self._known.put(self._batch, segment, places)
        return places

    async def _look_up(self, segment: Segment) -> _Places:
        key = segment.ref.key
        try:
            index = await self._blobs.read_segment_index(segment.ref)
        except NotFound as exc:
            raise Moved from exc
        places = {line: (key, offset, length) for line, offset, length in index}
        if len(places) != segment.lines:  # some came after their lease was lost
            counting = await self._store.lines_of_segment(
                self._batch, segment=segment.number, lines=list(places)
            )
            places = {line: place for line, place in places.items() if line in counting}
        if len(places) != segment.lines:
            raise Moved
        return places

    async def _read(self, piece: Sequence[Range]) -> list[bytes]:
        try:
            return await self._blobs.read_many(piece)
        except NotFound as exc:
            raise Moved from exc
