"""How many slices of a batch are claimed at once, by those that were claimed of it before. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from batchline.jsonl.input_file import SLICE_LINES
from batchline.model import Lease

_LINES_A_CLAIM = 16 * SLICE_LINES  # of one batch: one transaction feeds about 1,000 lines
_LONG_SLICE_BYTES = 1 << 20  # of shorter ones a claim may take too many: they are given back
_SMALL_SLICE_BYTES = 1 << 14


class ClaimSizes:
    """What is known of the slices of batches; a slice has 64 lines and few bytes until it is known better."""

    def __init__(self) -> None:
        self._bytes: dict[int, int] = {}  # of batches with long slices
        self._lines: dict[
            int, int
        ] = {}  # of batches with slices of few lines, as appends make them

    def lines(self, seq: int) -> int:
        """Return how many lines a slice of the batch has."""
        return self._lines.get(seq, SLICE_LINES)

    def bytes(self, seq: int) -> int:
        """Return how many bytes a slice of the batch has."""
        return self._bytes.get(seq, 1)

    def slices(self, seq: int, *, lines: int, free_bytes: int, is_alone: bool) -> int:
        """Return how many slices make so many lines and fit; 0 if even one must wait for room.

        With `is_alone` one may always be claimed: nothing will go that it could wait for.
        """
        if self.bytes(seq) > free_bytes and not is_alone:
            return 0
        slices = max(1, min(lines, _LINES_A_CLAIM) // self.lines(seq))
        return max(1, min(slices, free_bytes // self.bytes(seq)))

    def note(self, seq: int, claimed: Sequence[Lease]) -> None:
        """Take in what slices were claimed of a batch."""
        if not claimed:
            return
        self._lines.pop(seq, None)
        if max(lease.slice.length_bytes for lease in claimed) <= _SMALL_SLICE_BYTES:
            lines = -(-sum(lease.slice.count for lease in claimed) // len(claimed))
            if lines < SLICE_LINES:
                self._lines[seq] = lines

    def note_length(self, seq: int, length_bytes: int, *, does_fit: bool) -> None:
        """Take in the length of a slice; one that does not fit is not claimed again before there is room."""
        if length_bytes > _LONG_SLICE_BYTES or not does_fit:
            self._bytes[seq] = length_bytes

    def forget(self, seq: int) -> None:
        """Forget a batch."""
        self._bytes.pop(seq, None)
        self._lines.pop(seq, None)
