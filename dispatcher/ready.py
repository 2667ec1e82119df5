"""The lines that wait for their turn, in order; those that only some backends may take aside.

    lines ─► placed
      │ nobody that may take it has room
      └► parked, by what it needs ─► placed first, when somebody has
A model whose servers are full or gone does not hold up the lines of another one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .held import ReadyLine
from .memory import Memory
from .placement import Berth, Placement, Stay

AHEAD_LINES = 128
"""So many lines wait ready, or as many as may be in flight, if that is more."""

_Need = tuple[str | None, Berth | None]


class Ready:
    """The queue before the placement."""

    def __init__(self, placement: Placement, memory: Memory) -> None:
        self._placement = placement
        self._memory = memory
        self._lines: deque[ReadyLine] = deque()
        self._parked: dict[_Need, deque[ReadyLine]] = {}

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

    def wants(self, model: str | None) -> bool:
        """Whether lines of batches for this model shall be claimed: not while enough are parked."""
        parked = sum(len(lines) for need, lines in self._parked.items() if need[0] == model)
        return parked < AHEAD_LINES and self._placement.can_serve(model)

    def next(self) -> tuple[ReadyLine, Stay] | None:
        """Take the first line that some backend may take now, with its place."""
        found = self._next_parked() if self._parked else None
        return found or self._next_line()

    def model_of(self, line: ReadyLine) -> str | None:
        """Return the model that a line asks for, where that can matter.

        One of a mixed batch that nobody serves goes to anybody: that server's answer is the line's.
        """
        if line.held.batch.model is not None or not self._placement.tells_apart:
            return line.held.batch.model
        model = line.named_model()
        return model if self._placement.can_serve(model) else None

    def _next_parked(self) -> tuple[ReadyLine, Stay] | None:
        for need, lines in list(self._parked.items()):
            while lines and not lines[0].held.may_send:
                lines.popleft()
            if not lines:
                del self._parked[need]
            elif stay := self._placement.place(need[0], avoid=need[1]):
                return lines.popleft(), stay
        return None

    def _next_line(self) -> tuple[ReadyLine, Stay] | None:
        while self._lines:
            line = self._lines.popleft()
            if not line.held.may_send:
                continue
            need = (self.model_of(line), line.avoid)
            if need not in self._parked:
                if stay := self._placement.place(need[0], avoid=need[1]):
                    return line, stay
                if need == (None, None) or not self._placement.has_room:
                    self._lines.appendleft(line)
                    return None
            self._parked.setdefault(need, deque()).append(line)
            self._memory.lay_aside(line)
        return None
