"""Whose slice comes next: pure decisions over the batches that may have slices to claim.

The batch with the fewest lines held goes first, so that a 10-line batch never waits behind one of a
million; among equals the one whose deadline is nearer. Each model and endpoint has queues of its own: one
whose servers are gone or full holds up no other. What a decision costs does not grow with the number of
batches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from batchline.model import Batch

from .ordered import Ordered

_Key = tuple[int, int, int]  # lines held, deadline, seq: the smallest goes first
_Queue = Ordered[_Key]
_Group = tuple[str | None, str]  # model, endpoint


class Schedule:
    """The batches that may have slices to claim, by what they need and by the lines held of each.

    At most `at_most` of them run at the same time: have lines held and slices left. One that is fully
    claimed, or whose model nobody wants at present, takes nobody's place.
    """

    def __init__(self, *, at_most: int | None, most_held: int) -> None:
        self._at_most = at_most
        self._most_held = most_held
        self._batches: dict[int, Batch] = {}
        self._keys: dict[int, _Key] = {}
        self._fresh: defaultdict[_Group, _Queue] = defaultdict(_Queue)
        self._begun: defaultdict[_Group, _Queue] = defaultdict(_Queue)

    def __len__(self) -> int:
        """How many batches may have slices to claim."""
        return len(self._batches)

    def set_most_held(self, lines: int) -> None:
        """Let a batch wait that has so many lines held, until they are fewer."""
        self._most_held = lines

    def put(self, batch: Batch, *, held_lines: int) -> None:
        """Take in a batch, or take it in anew."""
        self.remove(batch.seq)
        self._batches[batch.seq] = batch
        if held_lines < self._most_held:
            key = self._keys[batch.seq] = (held_lines, batch.expires_at, batch.seq)
            self._queues(key)[batch.model, batch.endpoint].add(key)

    def hold(self, seq: int, held_lines: int) -> None:
        """Take in how many lines are held now of a batch, if it is there."""
        if batch := self._batches.get(seq):
            self.put(batch, held_lines=held_lines)

    def remove(self, seq: int) -> None:
        """Forget a batch; harmless if it is not there."""
        batch = self._batches.pop(seq, None)
        if batch is not None and (key := self._keys.pop(seq, None)):
            queues = self._queues(key)
            group = batch.model, batch.endpoint
            queues[group].discard(key)
            if not queues[group]:
                del queues[group]

    def choose(self, wants: Callable[[str | None, str], bool]) -> Batch | None:
        """Choose whose slice to claim next, or None.

        `wants`: whether lines for a model and an endpoint are wanted.
        """
        wanted = {group for group in {*self._fresh, *self._begun} if wants(*group)}
        queues = [self._begun[group] for group in wanted if group in self._begun]
        if self._at_most is None or sum(map(len, queues)) < self._at_most:
            queues += [self._fresh[group] for group in wanted if group in self._fresh]
        first = min((key for queue in queues if (key := queue.first())), default=None)
        return None if first is None else self._batches[first[2]]

    def _queues(self, key: _Key) -> defaultdict[_Group, _Queue]:
        return self._begun if key[0] else self._fresh
