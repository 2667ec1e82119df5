"""Reading a batch's results in input order, whatever the order in which they were settled.

Finds each line's record through the segments' own indexes; makes the records of lines that never ran.
Memory is 27 bytes a line and some megabytes, whatever the size of the results.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from batchline.blobs import Blobs
from batchline.blobs.keys import slice_key
from batchline.jsonl.finish_index import Place, pack
from batchline.jsonl.request_lines import decode_requests
from batchline.jsonl.result_lines import (
    CANCELLED_CODE,
    CANCELLED_MESSAGE,
    EXPIRED_CODE,
    EXPIRED_MESSAGE,
    error_record,
)
from batchline.model import Batch, Segment, request_id
from batchline.results.pieces import pieces
from batchline.states import OUTCOME_CODES, OutcomeKind
from batchline.store import Outcomes

_STEP_LINES = 1024
_STEP_BYTES = 4 << 20
_ROWS_AT_ONCE = 20_000
_SUCCEEDED = OUTCOME_CODES[OutcomeKind.SUCCEEDED]
_UNRUN = {
    OutcomeKind.CANCELLED: (CANCELLED_CODE, CANCELLED_MESSAGE),
    OutcomeKind.EXPIRED: (EXPIRED_CODE, EXPIRED_MESSAGE),
}


_Found = tuple[int, bytes]  # a line and its record


@dataclass(slots=True)
class _Places:
    """Where each line's record lies: parallel arrays by line; kind 0 means it never ran.

    `order` lists the lines that ran as they finished.
    """

    keys: list[str]
    kind: array[int]
    segment: array[int]
    key: array[int]
    offset: array[int]
    length: array[int]
    order: array[int]

    @classmethod
    def of(cls, total: int) -> _Places:
        def zeros(code: str) -> array[int]:
            return array(code, bytes(array(code).itemsize * total))

        return cls([], zeros("B"), zeros("Q"), zeros("H"), zeros("Q"), zeros("I"), array("I"))


@dataclass(frozen=True, slots=True)
class Step:
    """Records of consecutive lines, by the file they belong to."""

    output: list[bytes]
    error: list[bytes]


class Merge:
    """The results of one batch, from its segments.

    `unrun` says what became of lines without an outcome.
    """

    def __init__(
        self,
        store: Outcomes,
        blobs: Blobs,
        batch: Batch,
        segments: Sequence[Segment],
        *,
        unrun: OutcomeKind,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._batch = batch
        self._segments = segments
        self._unrun = unrun
        self._places = _Places.of(batch.counts.total)
        self._written = {True: 0, False: 0}

    async def steps(self) -> AsyncIterator[Step]:
        """Yield the records of all lines in input order, about a thousand or a few megabytes at a time.

        Raises NotFound if bytes are gone, StoreUnavailable if a segment is damaged.
        """
        await self._locate()
        for lines in self._cut():
            found = await self._ran_records(lines) + await self._unrun_records(lines)
            found.sort()
            yield self._deal(found)

    def finish_index(self) -> Iterator[bytes]:
        """Yield the index of the lines by when they finished; call it after the last step."""
        kind, offset, length = self._places.kind, self._places.offset, self._places.length
        unrun = (line for line, ran in enumerate(kind) if not ran)
        lines = chain(self._places.order, unrun)
        while some := list(islice(lines, _STEP_LINES)):
            yield pack(
                Place(line, kind[line] != _SUCCEEDED, offset[line], length[line]) for line in some
            )

    def _cut(self) -> Iterator[range]:
        """Cut the lines into runs that fit into memory."""
        start = size_bytes = 0
        for line, length in enumerate(self._places.length):
            if line - start == _STEP_LINES or (line > start and size_bytes + length > _STEP_BYTES):
                yield range(start, line)
                start, size_bytes = line, 0
            size_bytes += length
        yield range(start, self._batch.counts.total)

    def _deal(self, found: Sequence[_Found]) -> Step:
        """Deal records to the two files, and note where each lies from now on."""
        places, step = self._places, Step([], [])
        for line, record in found:
            succeeded = places.kind[line] == _SUCCEEDED
            (step.output if succeeded else step.error).append(record)
            places.offset[line] = self._written[succeeded]
            places.length[line] = len(record)
            self._written[succeeded] += len(record)
        return step

    async def _locate(self) -> None:
        places = self._places
        for start in range(0, self._batch.counts.total, _ROWS_AT_ONCE):
            rows = await self._store.outcomes(self._batch, start=start, stop=start + _ROWS_AT_ONCE)
            for line, kind, segment in rows:
                places.kind[line] = kind
                places.segment[line] = segment
        key_numbers: dict[str, int] = {}
        for stored in self._segments:
            key = key_numbers.setdefault(stored.ref.key, len(key_numbers))
            for line, offset, length in await self._blobs.read_segment_index(stored.ref):
                if places.segment[line] == stored.number:
                    if not places.length[line]:
                        places.order.append(line)
                    places.key[line] = key
                    places.offset[line] = offset
                    places.length[line] = length
        places.keys = list(key_numbers)

    async def _ran_records(self, lines: range) -> list[_Found]:
        places = self._places
        ran = [line for line in lines if places.kind[line]]
        ranges = [(places.keys[places.key[i]], places.offset[i], places.length[i]) for i in ran]
        return list(zip(ran, await self._blobs.read_many(ranges), strict=True))

    async def _unrun_records(self, lines: range) -> list[_Found]:
        """Make the records of those of `lines` that never ran, from the input."""
        kind, batch_id = self._places.kind, self._batch.id
        if 0 not in kind[lines.start : lines.stop]:
            return []
        code, message = _UNRUN[self._unrun]
        slices = await self._store.slices(self._batch, start=lines.start, stop=lines.stop)
        waiting = [s for s in slices if 0 in kind[s.first : s.first + s.count]]
        ranges = [(slice_key(self._batch, s), s.offset_bytes, s.length_bytes) for s in waiting]
        found = []
        unread = iter(waiting)
        for piece in pieces(ranges):
            for data, part in zip(await self._blobs.read_many(piece), unread, strict=False):
                for line, request in enumerate(decode_requests(data), part.first):
                    if line in lines and not kind[line]:
                        name = request_id(batch_id, line)
                        record = error_record(name, request.custom_id, code=code, message=message)
                        found.append((line, record))
        return found
