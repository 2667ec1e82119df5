"""The contract for looking at a whole data directory: what `fsck` and `backup` ask of a database.

`Audit` sees one moment of it and changes nothing. `Mending` is for a directory that nobody works on: the
only place where counts may go down and an ended state may be left. Lists that can be long come in pages.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from batchline.api.uploads import Part
from batchline.model import Batch, Fault, File, SegmentRef, Slice
from batchline.states import SliceState


@dataclass(frozen=True, slots=True)
class SliceRow:
    """A slice as stored: `settled` is what it counts, `outcomes` how many of its lines have a row."""

    slice: Slice
    state: SliceState
    settled: int
    outcomes: int


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment as stored: `lines` is what it counts, `outcomes` how many rows name it."""

    number: int
    ref: SegmentRef
    lines_before: int
    lines: int
    outcomes: int


@dataclass(frozen=True, slots=True)
class BatchRows:
    """What belongs to one open batch. `kinds`: outcome code -> rows; `homeless`: rows without a segment."""

    slices: Sequence[SliceRow]
    segments: Sequence[SegmentRow]
    kinds: Mapping[int, int]
    homeless: int


class Audit(Protocol):
    """Everything that one moment of the database says. All raise StoreUnavailable where it is damaged."""

    async def integrity(self, *, quick: bool) -> list[str]:
        """Return what is wrong with the file itself, at most a hundred lines; `quick` leaves indexes out."""

    async def identity(self) -> str:
        """Return the mark of this database, as in `Upkeep`."""

    async def batches(self, *, after: int, limit: int) -> list[Batch]:
        """Return batches with a `seq` above `after`, by it."""

    async def rows_of(self, batch: Batch) -> BatchRows:
        """Return the rows of one batch."""

    async def segment_files(self, batch: Batch) -> dict[str, int]:
        """Return blob key -> the bytes of it that segments of the batch lie in."""

    async def outcomes(self, batch: Batch, *, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Return (index, outcome code, segment number), as in `Work`."""

    async def files(self, *, after: int, limit: int) -> list[tuple[int, File]]:
        """Return (sequence number, file) with a number above `after`, by it; expired ones too."""

    async def known_files(self, ids: Collection[str]) -> dict[str, File]:
        """Return those of the files that have a row."""

    async def parts(self, *, after: tuple[str, str], limit: int) -> list[Part]:
        """Return parts of pending uploads whose (upload, id) is above `after`, by it."""

    async def unnamed(self, keys: Sequence[str]) -> list[str]:
        """Return those blob keys that no row names, garbage included."""

    async def garbage_keys(self, *, after: str, limit: int) -> list[str]:
        """Return keys of garbage above `after`, by name."""

    async def ownerless(self) -> list[int]:
        """Return the `batch_seq` of rows of lines that no slice and so no housekeeping leads to."""

    async def tokens(self) -> tuple[int, int]:
        """Return the last fencing token that was given out, and the highest that a slice has."""

    async def leased(self) -> dict[str, int]:
        """Return holder -> slices that it has leased."""


class Mending(Protocol):
    """Repairs, each one transaction over rows that nobody else touches."""

    async def reindex(self) -> None:
        """Make all indexes anew."""

    async def recount(self, batch: Batch, *, without: Collection[int], now: int) -> int:
        """Bring all counts of an open batch in line with its outcomes; return how many lines reopened.

        Outcomes without a home go first, and those of the segments numbered `without`.
        """

    async def recut(self, batch: Batch, slices: Sequence[Slice]) -> None:
        """Replace all slices of an open batch; `recount` must follow."""

    async def break_batch(self, batch: Batch, fault: Fault, *, now: int) -> bool:
        """Any open state → failed, as in `Work`."""

    async def delete_file(self, file_id: str) -> bool:
        """Forget the file and leave its bytes to the sweep, as in `Intake`."""

    async def cancel_upload(self, upload_id: str, *, now: int) -> bool:
        """Pending → cancelled, as in `Uploads`."""

    async def forget_garbage(self, keys: Sequence[str]) -> None:
        """Drop keys, as in `Upkeep`."""

    async def drop_ownerless(self, batch_seq: int) -> int:
        """Drop rows of lines that no slice leads to; return how many."""

    async def raise_token(self, least: int) -> None:
        """Let fencing tokens go on above `least`."""
