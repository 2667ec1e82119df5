"""The check of an ended batch: each line of its input stands in its result files exactly once.

Memory is 25 bytes a line, whatever the size of the results. Files that were deleted or have expired are
not missed.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping

import msgspec

from batchline.blobs import Blobs
from batchline.blobs.keys import finish_index_key
from batchline.jsonl.finish_index import ENTRY_BYTES, Place, unpack
from batchline.jsonl.request_lines import decode_requests
from batchline.model import Batch, File, request_id
from batchline.states import BatchStatus

from .damage import Damage, Reorder

_CHUNK_BYTES = 4 << 20
_ENTRIES_AT_ONCE = 1 << 16
_OUTPUT, _ERROR = 1, 2
BLANK = b" \t\r\n\v\f\xef\xbb\xbf"
"""What a blank line of an input may hold; the last three are a BOM."""
_LOST = "restore this batch's files from a backup, or run its lines again"


class _Record(msgspec.Struct):
    id: str
    custom_id: str
    response: msgspec.Raw
    error: msgspec.Raw


_decoder = msgspec.json.Decoder(_Record)


def check_ending(batch: Batch) -> list[Damage]:
    """Return what is wrong with the row of an ended batch."""
    counts, faults = batch.counts, []
    if batch.status is BatchStatus.COMPLETED and counts.finished != counts.total:
        faults.append(f"it is completed with {counts.finished:,} of {counts.total:,} lines")
    if batch.status is not BatchStatus.FAILED:
        rest = counts.total - counts.completed
        for name, lines, file_id in (
            ("an output", counts.completed, batch.output_file_id),
            ("an error", rest, batch.error_file_id),
        ):
            if bool(lines) != (file_id is not None):
                had = "names" if file_id else "never got"
                faults.append(f"it {had} {name} file for {lines:,} lines")
    advice = "please report this with the log: it must not happen"
    return [Damage("results", batch.id, fault, advice=advice) for fault in faults]


class Published:
    """The result files of one ended batch, read once from beginning to end."""

    def __init__(
        self, blobs: Blobs, batch: Batch, *, output: File | None, error: File | None
    ) -> None:
        self._blobs = blobs
        self._batch = batch
        self._files = {_OUTPUT: output, _ERROR: error}
        total = batch.counts.total
        self._where = bytearray(total)
        self._marks = array("q", bytes(8 * total))
        self._offsets = array("Q", bytes(8 * total))
        self._lengths = array("Q", bytes(8 * total))
        self._faults: Counter[str] = Counter()
        self._sums: list[str] = []

    @classmethod
    def of(cls, blobs: Blobs, batch: Batch, known: Mapping[str, File]) -> Published:
        """Take those of its files that are `known`, by id."""
        output, error = (known.get(i or "") for i in (batch.output_file_id, batch.error_file_id))
        return cls(blobs, batch, output=output, error=error)

    async def check(self) -> list[Damage]:
        """Read everything; return what is wrong."""
        for where, file in self._files.items():
            if file is not None and await self._blobs.size(file.blob_key) == file.bytes:
                await self._read(where, file)
            else:
                self._files[where] = None  # gone, or reported as a damaged file
        if self._batch.counts.completed and self._batch.output_file_id:
            self._complete(_OUTPUT, self._batch.counts.completed)
        if self._batch.error_file_id:
            self._complete(_ERROR, self._batch.counts.total - self._batch.counts.completed)
        await self._compare_with_input()
        faults = [f"{count:,} {fault}" for fault, count in self._faults.items() if count]
        if text := "; ".join(faults + self._sums):
            return [Damage("results", self._batch.id, text, advice=_LOST)]
        return await self._check_index()

    def places(self) -> Iterator[Place]:
        """Yield where each line lies, in input order; call it after `check`."""
        for line, where in enumerate(self._where):
            yield Place(line, where == _ERROR, self._offsets[line], self._lengths[line])

    async def _read(self, where: int, file: File) -> None:
        last, offset = -1, 0
        async for record in lines_of(self._blobs, file.blob_key):
            line = self._line(record)
            if line is None:
                self._faults["lines are no result lines of it"] += 1
            elif self._where[line]:
                self._faults["lines have two results"] += 1
            else:
                self._faults["results are out of order"] += line < last
                self._where[line] = where
                self._offsets[line], self._lengths[line] = offset, len(record)
                last = line
            offset += len(record)

    def _line(self, record: bytes) -> int | None:
        """Return which line the record is the result of, noting its custom_id."""
        try:
            found = _decoder.decode(record)
            line = int(found.id[-8:], 16)
        except (msgspec.DecodeError, ValueError):
            return None
        if line >= len(self._where) or found.id != request_id(self._batch.id, line):
            return None
        self._marks[line] = hash(found.custom_id)
        return line

    def _complete(self, where: int, wanted: int) -> None:
        found = self._where.count(where)
        if self._files[where] is not None and found != wanted:
            name = "output" if where == _OUTPUT else "error"
            self._sums.append(f"{found:,} lines are in its {name} file, its counts say {wanted:,}")

    async def _compare_with_input(self) -> None:
        """Each result carries the custom_id of its line, if the input is still there."""
        if await self._blobs.size(self._batch.input_key) is None:
            return
        line = 0
        async for text in lines_of(self._blobs, self._batch.input_key):
            for request in decode_requests(text) if text.strip(BLANK) else ():
                if line < len(self._where) and self._where[line]:
                    self._faults["results carry another custom_id than their line"] += (
                        hash(request.custom_id) != self._marks[line]
                    )
                line += 1
        if line != self._batch.counts.total:
            self._sums.append(f"its input has {line:,} lines, it counts {len(self._where):,}")

    async def _check_index(self) -> list[Damage]:
        """The index of lines by when they finished leads to each line that is still there."""
        if not any(self._files.values()):
            return []
        key, total = finish_index_key(self._batch.id), self._batch.counts.total
        wrong = await self._blobs.size(key) != total * ENTRY_BYTES
        seen = bytearray(total)
        for start in range(0, 0 if wrong else total, _ENTRIES_AT_ONCE):
            data = await self._blobs.read(
                key, offset=start * ENTRY_BYTES, length=_ENTRIES_AT_ONCE * ENTRY_BYTES
            )
            for place in unpack(data):
                if place.line >= total or seen[place.line]:
                    wrong = True
                    break
                seen[place.line] = 1
                where = _ERROR if place.in_error_file else _OUTPUT
                if self._where[place.line]:
                    found = (self._where[place.line], self._offsets[place.line])
                    wrong |= found != (where, place.offset)
                    wrong |= self._lengths[place.line] != place.length
        if not wrong:
            return []
        text = "the index of its lines by when they finished is missing or damaged"
        is_whole = all(self._where)
        mend = Reorder(self._batch, self._files[_OUTPUT], self._files[_ERROR]) if is_whole else None
        return [Damage("results", self._batch.id, text, mend=mend, advice="" if mend else _LOST)]


async def lines_of(blobs: Blobs, key: str) -> AsyncIterator[bytes]:
    """Yield the lines of a blob with their newlines; the last may have none."""
    tail = b""
    async for chunk in blobs.stream(key, chunk_bytes=_CHUNK_BYTES):
        *whole, tail = (tail + chunk).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if tail:
        yield tail
