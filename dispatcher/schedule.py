"""Which batch next: pure decisions, no I/O.

The batch with the fewest lines held goes first, so that a 10-line batch never waits behind one of a
million; among equals the one whose deadline is nearer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchline.model import Batch


def admitted(running: Sequence[Batch], *, at_most: int) -> list[Batch]:
    """Choose the batches that may run now: the oldest `at_most`."""
    return sorted(running, key=lambda b: b.seq)[:at_most]


def choose(candidates: Sequence[Batch], held_lines: Mapping[int, int]) -> Batch | None:
    """Choose whose slice to claim next, or None. `held_lines`: lines held now, by batch seq."""
    return min(
        candidates,
        key=lambda b: (held_lines.get(b.seq, 0), b.expires_at, b.seq),
        default=None,
    )
