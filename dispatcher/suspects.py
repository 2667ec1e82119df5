"""Batches on which dispatchers die: run one at a time, and in the end no more. Pure decisions.

A death counts against every batch that was being worked on. It is forgotten with the next line of the
batch that finishes, so that a batch which gets on is never stopped, however often its dispatcher is killed.

    deaths without a finished line     what happens
    fewer than 5                       nothing
    5 and more                         it runs as the only such batch: the innocent get on and are cleared
    25                                 it is paused with the reason (nothing of it is lost); where it has no
                                       line to keep, or cannot be paused, it fails
"""

from __future__ import annotations

from collections.abc import Sequence

from batchline.model import Batch, Fault
from batchline.states import PAUSABLE

_SUSPECT_AFTER = 5
_ENOUGH = 25


def may_run(batches: Sequence[Batch]) -> list[Batch]:
    """Leave out all suspects but one: the least suspected, of those the oldest."""
    suspects = [b for b in batches if b.status in PAUSABLE and _is_suspect(b)]
    first = min(suspects, key=lambda b: (b.deaths, b.seq), default=None)
    return [b for b in batches if b not in suspects or b is first]


def _is_suspect(batch: Batch) -> bool:
    return batch.deaths >= _SUSPECT_AFTER and batch.paused_at is None


def verdict(batch: Batch) -> Fault | None:
    """Say why the batch is not to be worked on any more, or None."""
    if batch.deaths < _ENOUGH or batch.paused_at is not None:
        return None
    return Fault(
        "dispatcher_died",
        f"The dispatcher died {batch.deaths} times in a row while it worked on this batch, and no line of "
        "it was finished in between: its log tells how. Paused batches can be resumed or cancelled.",
    )
