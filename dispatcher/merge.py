"""Reading a batch's results in input order, whatever the order in which they were settled.

Finds each line's record through the segments' own indexes; makes the records of lines that never ran.
Memory is 27 bytes a line, whatever the size of the results.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from batchline.blobs import Blobs
from batchline.finish_index import Place, pack
from batchline.lines import (
    CANCELLED_CODE,
    CANCELLED_MESSAGE,
    EXPIRED_CODE,
    EXPIRED_MESSAGE,
    decode_requests,
    error_record,
)
from batchline.model import Batch, Slice, request_id
from batchline.states import OUTCOME_CODES, OutcomeKind
from batchline.store import Work

_STEP_LINES = 1024
_ROWS_AT_ONCE = 20_000
_SUCCEEDED = OUTCOME_CODES[OutcomeKind.SUCCEEDED]
_UNRUN = {
    OutcomeKind.CANCELLED: (CANCELLED_CODE, CANCELLED_MESSAGE),
    OutcomeKind.EXPIRED: (EXPIRED_CODE, EXPIRED_MESSAGE),
}


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
    """The results of one batch. `unrun` says what became of lines without an outcome."""

    def __init__(self, store: Work, blobs: Blobs, batch: Batch, *, unrun: OutcomeKind) -> None:
        self._store = store
        self._blobs = blobs
        self._batch = batch
        self._unrun = unrun
        self._places = _Places.of(batch.counts.total)
        self._slices: Sequence[Slice] = ()
        self._written = {True: 0, False: 0}

    async def steps(self) -> AsyncIterator[Step]:
        """Yield the records of all lines in input order, about a thousand at a time.

        Raises NotFound if bytes are gone, StoreUnavailable if a segment is damaged.
        """
        await self._locate()
        self._slices = await self._store.slices(self._batch)
        for start in range(0, self._batch.counts.total, _STEP_LINES):
            stop = min(start + _STEP_LINES, self._batch.counts.total)
            step = Step([], [])
            for line, record in await self._step(start, stop):
                succeeded = self._places.kind[line] == _SUCCEEDED
                (step.output if succeeded else step.error).append(record)
                self._moved(line, len(record), succeeded=succeeded)
            yield step

    def finish_index(self) -> Iterator[bytes]:
        """Yield the index of the lines by when they finished; call it after the last step."""
        places = self._places
        unrun = (line for line, kind in enumerate(places.kind) if not kind)
        lines = chain(places.order, unrun)
        while some := list(islice(lines, _STEP_LINES)):
            yield pack(
                Place(
                    line,
                    in_error_file=places.kind[line] != _SUCCEEDED,
                    offset=places.offset[line],
                    length=places.length[line],
                )
                for line in some
            )

    def _moved(self, line: int, length: int, *, succeeded: bool) -> None:
        """Note where the line's record lies from now on: in the file that is being written."""
        self._places.offset[line] = self._written[succeeded]
        self._places.length[line] = length
        self._written[succeeded] += length

    async def _locate(self) -> None:
        places = self._places
        for start in range(0, self._batch.counts.total, _ROWS_AT_ONCE):
            rows = await self._store.outcomes(self._batch, start=start, stop=start + _ROWS_AT_ONCE)
            for line, kind, segment in rows:
                places.kind[line] = kind
                places.segment[line] = segment
        key_numbers: dict[str, int] = {}
        for number, ref in await self._store.segments(self._batch):
            key = key_numbers.setdefault(ref.key, len(key_numbers))
            for line, offset, length in await self._blobs.read_segment_index(ref):
                if places.segment[line] == number:
                    if not places.length[line]:
                        places.order.append(line)
                    places.key[line] = key
                    places.offset[line] = offset
                    places.length[line] = length
        places.keys = list(key_numbers)

    async def _step(self, start: int, stop: int) -> list[tuple[int, bytes]]:
        places = self._places
        ran = [line for line in range(start, stop) if places.kind[line]]
        ranges = [(places.keys[places.key[i]], places.offset[i], places.length[i]) for i in ran]
        records = dict(zip(ran, await self._blobs.read_many(ranges), strict=True))
        if len(ran) < stop - start:
            records |= await self._unrun_records(start, stop)
        return sorted(records.items())

    async def _unrun_records(self, start: int, stop: int) -> dict[int, bytes]:
        code, message = _UNRUN[self._unrun]
        records = {}
        first = bisect_right(self._slices, start, key=lambda s: s.first) - 1
        for piece in self._slices[first:]:
            if piece.first >= stop:
                break
            if 0 not in self._places.kind[piece.first : piece.first + piece.count]:
                continue  # all of it ran
            data = await self._blobs.read(
                self._batch.input_key, offset=piece.offset_bytes, length=piece.length_bytes
            )
            for line, request in enumerate(decode_requests(data), piece.first):
                if start <= line < stop and not self._places.kind[line]:
                    name = request_id(self._batch.id, line)
                    records[line] = error_record(
                        name, request.custom_id, code=code, message=message
                    )
        return records
