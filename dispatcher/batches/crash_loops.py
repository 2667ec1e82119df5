"""Batches on which dispatchers die: run one at a time, and in the end no more. Pure decisions.

A death counts against every batch that was being worked on. It is forgotten with the next line of the
batch that finishes, so that a batch which gets on is never stopped, however often its dispatcher is killed.

    deaths without a finished line     what happens
    fewer than 5                       nothing
    5 and more                         it runs as the only such batch: the innocent get on and are cleared
    25                                 it is paused with the reason (nothing of it is lost); while it is being
                                       validated, and has nothing to lose, it fails

One whose results are being written out is never given up: from 5 deaths on it waits ever longer after the
start of the dispatcher, so that it disturbs others ever less.
"""

from __future__ import annotations

from collections.abc import Iterable

from batchline.model import Batch, Fault
from batchline.states import PAUSABLE, PUBLISHABLE

_CRASHING_AFTER = 5
_ENOUGH = 25
_LONGEST_WAIT_S = 600.0


def is_crashing(batch: Batch) -> bool:
    """Whether it runs only as the only such batch."""
    return batch.status in PAUSABLE and batch.deaths >= _CRASHING_AFTER and batch.paused_at is None


def first(crashing: Iterable[Batch]) -> Batch | None:
    """Choose the one that may run: with the fewest deaths, of those the oldest."""
    return min(crashing, key=lambda b: (b.deaths, b.seq), default=None)


def verdict(batch: Batch) -> Fault | None:
    """Say why the batch is not to be worked on any more, or None."""
    if batch.status not in PAUSABLE or batch.deaths < _ENOUGH or batch.paused_at is not None:
        return None
    return Fault(
        "dispatcher_died",
        f"The dispatcher died {batch.deaths} times in a row while it worked on this batch, and no line of "
        "it was finished in between: its log tells how. Paused batches can be resumed or cancelled.",
    )


def patience_s(batch: Batch) -> float:
    """Say how long after the start of the dispatcher the results of this batch may be written out."""
    if batch.status not in PUBLISHABLE or batch.deaths < _CRASHING_AFTER:
        return 0.0
    return min(2.0 ** (batch.deaths - _CRASHING_AFTER), _LONGEST_WAIT_S)
