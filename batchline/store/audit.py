"""The contract for looking at a whole data directory: what `fsck` and `backup` ask of a database.

Lists that can be long come in pages. Repairs are `engine.Mending`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from batchline.api.upload_rules import Part
from batchline.model import Batch, File, SegmentRef, Slice
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
    """What one moment of the database says.

    It changes nothing, and what is changed meanwhile it does not see. Whatever reads rows raises
    StoreUnavailable where they are damaged.
    """

    async def integrity(self, *, quick: bool) -> list[str]:
        """Return what is wrong with the file itself, at most a hundred lines; `quick` leaves indexes out."""

    async def identity(self) -> str:
        """Return what `Upkeep.identity` does."""

    async def batches(self, *, after: int, limit: int) -> list[Batch]:
        """Return up to `limit` batches with a `seq` above `after`, by it."""

    async def rows_of(self, batch: Batch) -> BatchRows:
        """Return the rows of one batch, with what they count and what there is."""

    async def files_of(self, batch: Batch) -> dict[str, int]:
        """Return blob key -> the bytes of it that segments, or appends, of the batch lie in."""

    async def outcomes(self, batch: Batch, *, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Return what `Outcomes.outcomes` does."""

    async def files(self, *, after: int, limit: int) -> list[tuple[int, File]]:
        """Return up to `limit` (number, file) with a number above `after`, by it; expired ones too."""

    async def known_files(self, ids: Collection[str]) -> dict[str, File]:
        """Return those of the files that have a row."""

    async def parts(self, *, after: tuple[str, str], limit: int) -> list[Part]:
        """Return up to `limit` parts of pending uploads whose (upload, id) is above `after`, by it."""

    async def unnamed(self, keys: Sequence[str]) -> list[str]:
        """Return those blob keys that nothing names, in the sense of `Upkeep.note_unnamed`."""

    async def garbage_keys(self, *, after: str, limit: int) -> list[str]:
        """Return up to `limit` keys of garbage above `after`, by name."""

    async def ownerless(self) -> list[int]:
        """Return the `batch_seq` of rows of lines that no slice and so no housekeeping leads to."""

    async def tokens(self) -> tuple[int, int]:
        """Return the last fencing token that was given out, and the highest that a slice has."""

    async def leased(self) -> dict[str, int]:
        """Return holder -> slices that it has leased."""
