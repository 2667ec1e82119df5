"""The open batches as the store last told of them: what changed is read, not all of them each time.

The store stays the truth: other processes write there, too, and everything here is read anew after a start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from batchline.model import Batch
from batchline.states import BatchStatus
from batchline.store import Conduct


@dataclass(frozen=True, slots=True)
class News:
    """Batches that changed, as they are now, and such as are open no more, as they last were."""

    changed: list[Batch]
    ended: list[Batch]


class OpenBatches:
    """Every open batch, by seq; how many there are of each status; how many lines are left to be done."""

    def __init__(self, store: Conduct) -> None:
        self._store = store
        self._number: int | None = None
        self._batches: dict[int, Batch] = {}
        self.by_status: Counter[BatchStatus] = Counter()
        self.lines_left = 0
        """Of batches in progress."""

    def get(self, seq: int) -> Batch | None:
        """Return a batch as it was last read, or None if it was not open."""
        return self._batches.get(seq)

    async def read(self) -> News:
        """Take in what changed since the last time. Raises StoreUnavailable, and misses nothing by that."""
        told = await self._store.changes(after=self._number)
        self._number = told.number
        ended: Iterable[int] = told.ended
        if told.is_all:
            ended = self._batches.keys() - {batch.seq for batch in told.open}
        gone = [batch for seq in list(ended) if (batch := self._batches.pop(seq, None))]
        for batch in gone:
            self._count(batch, -1)
        for batch in told.open:
            if before := self._batches.get(batch.seq):
                self._count(before, -1)
            self._batches[batch.seq] = batch
            self._count(batch, 1)
        return News(list(told.open), gone)

    def _count(self, batch: Batch, signal: int) -> None:
        self.by_status[batch.status] += signal
        if batch.status is BatchStatus.IN_PROGRESS:
            self.lines_left += signal * (batch.counts.total - batch.counts.finished)
