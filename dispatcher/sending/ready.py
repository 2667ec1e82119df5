"""The lines that wait for their turn, in order; those that only some backends may take aside.

    lines ─► placed
      │ nobody that may take it has room
      └► parked, by what it needs ─► placed first, when somebody has
A model whose servers are full or gone does not hold up the lines of another one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from dispatcher.attempts.leased_slices import ReadyLine
from dispatcher.backends.backend import Avoids, Backend, Slot
from dispatcher.backends.balancer import Balancer
from dispatcher.backends.lacks import Need

from .memory import Memory

_FIRM = {Avoids.AWHILE, Avoids.ALWAYS}
_LOOKED_AT = 64  # of what lines are parked for; a batch may name thousands of models
AHEAD_LINES = 128
"""So many lines wait ready, or as many as may be in flight, if that is more."""


class _Where(NamedTuple):
    """What a line needs, and which backend it avoids."""

    need: Need
    avoid: Backend | None
    avoids: Avoids


class Ready:
    """The queue before the balancer."""

    def __init__(self, balancer: Balancer, memory: Memory) -> None:
        self._balancer = balancer
        self._memory = memory
        self._lines: deque[ReadyLine] = deque()
        self._parked: dict[_Where, deque[ReadyLine]] = {}
        self._gone: deque[ReadyLine] = deque()

    def __len__(self) -> int:
        """How many lines wait that any backend may take."""
        return len(self._lines)

    def add(self, lines: Iterable[ReadyLine]) -> None:
        """Queue these lines behind all others."""
        self._lines.extend(lines)

    def add_first(self, line: ReadyLine) -> None:
        """Queue a line before all others."""
        self._lines.appendleft(line)

    def clear(self) -> None:
        """Forget all lines."""
        self._lines.clear()
        self._parked.clear()
        self._gone.clear()

    def wants(self, need: Need) -> bool:
        """Whether lines that need this shall be claimed: not while enough of them are parked.

        Those that are parked for their length, or wait for another backend than one that refused them, do
        not count: their batch may have others.
        """
        model = need.model
        if not self._balancer.serving.can_serve(model):
            return self._balancer.serving.is_gone(model)
        parked = (
            len(lines)
            for (other, _, avoids), lines in self._parked.items()
            if other[:2] == need[:2] and not other.size_bytes and avoids is Avoids.NOW
        )
        return sum(parked) < AHEAD_LINES

    def next(self) -> tuple[ReadyLine, Slot] | None:
        """Take the first line that some backend may take now, with its place."""
        found = self._next_parked() if self._parked else None
        return found or self._next_line()

    def gone(self) -> Iterator[ReadyLine]:
        """Take the lines whose model nobody has served for so long that they wait no longer."""
        for where in [
            where for where in self._parked if self._balancer.serving.is_gone(where.need.model)
        ]:
            self._gone.extend(self._parked.pop(where))
        while self._gone:
            line = self._gone.popleft()
            if line.held.may_send:
                yield line

    def waiting(self) -> dict[str, str]:
        """Say of which batches (by id) lines are parked that no backend in service takes, and why."""
        return {
            line.held.batch.id: reason
            for (need, avoid, avoids), lines in self._parked.items()
            if (
                reason := self._balancer.serving.lacking(
                    need, but=avoid if avoids in _FIRM else None
                )
            )
            for line in lines
        }

    def need(self, line: ReadyLine) -> Need:
        """Say what a line needs of a backend."""
        return self._balancer.need(line.model, line.held.batch.endpoint, line.size_bytes)

    def _next_parked(self) -> tuple[ReadyLine, Slot] | None:
        for where in list(islice(self._parked, _LOOKED_AT)):
            lines = self._parked[where]
            while lines and not lines[0].held.may_send:
                lines.popleft()
            if not lines:
                del self._parked[where]
            elif slot := self._balancer.place(*where):
                return lines.popleft(), slot
            elif len(self._parked) > _LOOKED_AT:
                self._parked[where] = self._parked.pop(where)  # others are looked at next time
        return None

    def _next_line(self) -> tuple[ReadyLine, Slot] | None:
        while self._lines:
            line = self._lines.popleft()
            if not line.held.may_send:
                continue
            need = self.need(line)
            where = _Where(need, line.attempts.avoid, line.attempts.avoids)
            if not self._parked or where not in self._parked:
                if slot := self._balancer.place(*where):
                    return line, slot
                if self._balancer.serving.is_gone(need.model):
                    self._gone.append(line)
                    continue
                if not self._balancer.has_room:
                    self._lines.appendleft(line)
                    return None
            self._parked.setdefault(where, deque()).append(line)
            self._memory.lay_aside(line)
        return None
