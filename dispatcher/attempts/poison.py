"""Which lines are tried apart, because servers died while working on them; which one is to blame. Pure.

    lost twice ─► suspect ─► on trial, in a group that has a server to itself
        ▲                      │ answered                ─► acquitted, the next group is twice as large
        └── (so does the       │ lost, one of several    ─► half of the lost group is tried next
             poison line)      │ lost, the only one      ─► blamed; after BLAMES it is condemned
                               └ anything else           ─► undecided: it comes back and is tried again
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
"""Lost alone so often a line is condemned: once may be chance."""
_MOST_BLAMES = 4
_REMEMBERED_S = 3600.0


class Tried(Protocol):
    """What is to be known of a line."""

    attempts: Attempts


T = TypeVar("T", bound=Tried)


def _turn(suspect: Tried) -> tuple[int, float]:
    return -suspect.attempts.blames, suspect.attempts.quickest_s


class Suspects(Generic[T]):
    """The suspects, those on trial, and how large the next group is."""

    def __init__(self) -> None:
        self._cold: list[T] = []
        self._hot: list[T] = []
        """What is left of a lost group: one of these it was, most likely."""
        self._on_trial: set[T] = set()
        self._lost: list[T] = []
        self._is_hot_group = False
        self.is_single = False
        """Whether the group on trial is one line."""
        self._size = 1
        self._false_alarms: list[float] = []

    def __len__(self) -> int:
        """How many lines are kept apart, those on trial included."""
        return len(self._cold) + len(self._hot) + len(self._on_trial) + len(self._lost)

    @property
    def is_on_trial(self) -> bool:
        """Whether a group is under way."""
        return bool(self._on_trial)

    def has_on_trial(self, line: T) -> bool:
        """Whether this line is under way in the group."""
        return line in self._on_trial

    def first(self) -> T | None:
        """Return the line that is tried next, or None."""
        return next(iter(self._hot or self._cold), None)

    def add(self, line: T) -> None:
        """Keep a line apart."""
        insort(self._cold, line, key=_turn)

    def keep_only(self, is_wanted: Callable[[T], bool]) -> None:
        """Forget the lines that nobody wants any more; those on trial report for themselves."""
        self._cold = [line for line in self._cold if is_wanted(line)]
        self._hot = [line for line in self._hot if is_wanted(line)]

    def pick(self, *, at_most: int, may: Callable[[T], bool] = lambda _: True) -> list[T]:
        """Put the next group on trial. `may`: whether a line may be tried where there is room."""
        assert not self._on_trial, "one group at a time"
        self._is_hot_group = bool(self._hot)
        pool = self._hot or self._cold
        size = max(1, len(pool) // 2) if self._is_hot_group else self._size
        group = [line for line in pool if may(line)][: min(size, at_most)]
        self._on_trial, self._lost, self.is_single = set(group), [], len(group) == 1
        pool[:] = [line for line in pool if line not in self._on_trial]
        return group

    # -- how a line on trial ended

    def answered(self, line: T, now: float) -> None:
        """Acquit it: a server lived through it. If it was ever blamed, servers die by themselves here."""
        if line.attempts.blames:
            self._false_alarms.append(now)
        self._leave(line)

    def undecided(self, line: T) -> None:
        """Let it go without a judgement; who wants it tried again adds it again."""
        self._leave(line)

    def lost(self, line: T, now: float) -> bool:
        """Take in that it was lost; True: it is condemned, and kept apart no more."""
        if self.is_single:
            line.attempts = line.attempts.blame()
            if line.attempts.blames >= self._needed(now):
                self._leave(line)
                return True
        self._lost.append(line)
        self._leave(line)
        return False

    def _needed(self, now: float) -> int:
        """How many blames condemn: each line that was blamed and then answered asks for one more."""
        self._false_alarms = [at for at in self._false_alarms if at > now - _REMEMBERED_S]
        return min(_MOST_BLAMES, BLAMES + len(self._false_alarms))

    def _leave(self, line: T) -> None:
        self._on_trial.discard(line)
        if not self._on_trial:
            self._conclude()

    def _conclude(self) -> None:
        if not self._lost:
            self._size = self._size if self._is_hot_group else self._size * 2
            return
        self._size = 1
        self._cold = sorted(self._hot + self._cold, key=_turn)
        self._hot, self._lost = sorted(self._lost, key=_turn), []
