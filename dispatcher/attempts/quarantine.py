"""The quarantine of suspects: which are sent next, in isolation, and which one is poison. Pure.

    lost twice ─► suspect ─► isolated, in a group that has a server to itself
        ▲                      │ answered              ─► cleared, the next group is twice as large
        └── (so does the       │ lost, one of several  ─► half of the lost group is next
             poison line)      │ lost, the only one    ─► blamed; after BLAMES it fails as poison
                               └ anything else         ─► undecided: it comes back and is sent again
A server dies with everything that it works on, so being lost proves nothing but alone. Most suspects are
innocent: those who were there when a server was restarted twice leave in a few large groups.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from .line_history import Attempts

LOSSES = 2
"""Lost so often a line becomes a suspect: once is a server's own affair."""
BLAMES = 2
"""Lost alone so often a line is poison: once may be chance."""
_MOST_BLAMES = 4
_REMEMBERED_S = 3600.0


class Suspect(Protocol):
    """What is to be known of a line."""

    attempts: Attempts


T = TypeVar("T", bound=Suspect)


def is_suspect(attempts: Attempts) -> bool:
    """Whether only isolated attempts of a line are made from now on."""
    return attempts.losses >= LOSSES


def _turn(suspect: Suspect) -> tuple[int, float]:
    return -suspect.attempts.blames, suspect.attempts.quickest_s


class Quarantine(Generic[T]):
    """The suspects, the group of them that is isolated now, and how large the next one is."""

    def __init__(self) -> None:
        self._cold: list[T] = []
        self._hot: list[T] = []
        """What is left of a lost group: one of these it was, most likely."""
        self._isolated: set[T] = set()
        self._lost: list[T] = []
        self._is_hot_group = False
        self.is_single = False
        """Whether the group is one line."""
        self._size = 1
        self._false_alarms: list[float] = []

    def __len__(self) -> int:
        """How many suspects there are, those of the group included."""
        return len(self._cold) + len(self._hot) + len(self._isolated) + len(self._lost)

    @property
    def is_busy(self) -> bool:
        """Whether a group is isolated now."""
        return bool(self._isolated)

    def has_isolated(self, line: T) -> bool:
        """Whether this line is of the group."""
        return line in self._isolated

    def first(self) -> T | None:
        """Return the line that is sent next, or None."""
        return next(iter(self._hot or self._cold), None)

    def add(self, line: T) -> None:
        """Keep a line apart."""
        insort(self._cold, line, key=_turn)

    def keep_only(self, is_wanted: Callable[[T], bool]) -> None:
        """Forget the lines that nobody wants any more; those of the group report for themselves."""
        self._cold = [line for line in self._cold if is_wanted(line)]
        self._hot = [line for line in self._hot if is_wanted(line)]

    def isolate(self, *, at_most: int, may: Callable[[T], bool] = lambda _: True) -> list[T]:
        """Choose the next group. `may`: whether a line may be sent where there is room."""
        assert not self._isolated, "one group at a time"
        self._is_hot_group = bool(self._hot)
        pool = self._hot or self._cold
        size = max(1, len(pool) // 2) if self._is_hot_group else self._size
        group = [line for line in pool if may(line)][: min(size, at_most)]
        self._isolated, self._lost, self.is_single = set(group), [], len(group) == 1
        pool[:] = [line for line in pool if line not in self._isolated]
        return group

    # -- how an isolated attempt ended

    def clear(self, line: T, now: float) -> None:
        """Let it go: a server lived through it. If it was ever blamed, servers die by themselves here."""
        if line.attempts.blames:
            self._false_alarms.append(now)
        self._leave(line)

    def release(self, line: T) -> None:
        """Let it go undecided; who wants it isolated again adds it again."""
        self._leave(line)

    def record_loss(self, line: T, now: float) -> bool:
        """Take in that it was lost; True: it is poison, and kept apart no more."""
        if self.is_single:
            line.attempts = line.attempts.blame()
            if line.attempts.blames >= self._needed(now):
                self._leave(line)
                return True
        self._lost.append(line)
        self._leave(line)
        return False

    def _needed(self, now: float) -> int:
        """How many blames make a line poison: each that was blamed and then answered asks for one more."""
        self._false_alarms = [at for at in self._false_alarms if at > now - _REMEMBERED_S]
        return min(_MOST_BLAMES, BLAMES + len(self._false_alarms))

    def _leave(self, line: T) -> None:
        self._isolated.discard(line)
        if not self._isolated:
            self._conclude()

    def _conclude(self) -> None:
        if not self._lost:
            self._size = self._size if self._is_hot_group else self._size * 2
            return
        self._size = 1
        self._cold = sorted(self._hot + self._cold, key=_turn)
        self._hot, self._lost = sorted(self._lost, key=_turn), []
