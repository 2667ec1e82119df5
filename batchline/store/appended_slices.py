"""Cuts the new requests of an append into slices, as admission cuts an input file. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchline.api.appends import AppendedLine
from batchline.jsonl.input_file import SLICE_BYTES, SLICE_LINES
from batchline.model import Slice


def cut(
    batch_seq: int, lines: Sequence[AppendedLine], *, append: int, first: int
) -> Iterator[Slice]:
    """Yield slices of `lines`, numbered from `first`. A line that is left out between two ends a slice."""
    run: list[AppendedLine] = []
    for line in lines:
        if run and not _follows(line, run):
            yield _slice(batch_seq, run, append=append, first=first)
            first += len(run)
            run = []
        run.append(line)
    if run:
        yield _slice(batch_seq, run, append=append, first=first)


def _follows(line: AppendedLine, run: Sequence[AppendedLine]) -> bool:
    """Whether the slice that the run is may have this line, too."""
    end = run[-1].offset_bytes + run[-1].length_bytes
    length = line.offset_bytes + line.length_bytes - run[0].offset_bytes
    return line.offset_bytes == end and len(run) < SLICE_LINES and length <= SLICE_BYTES


def _slice(batch_seq: int, run: Sequence[AppendedLine], *, append: int, first: int) -> Slice:
    start = run[0].offset_bytes
    length = run[-1].offset_bytes + run[-1].length_bytes - start
    return Slice(batch_seq, first, len(run), start, length, append)
