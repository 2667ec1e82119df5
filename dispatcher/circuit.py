"""The circuit of one backend: whether lines may be sent there, and how many. Pure.

              broke off, or errors only               allowance reaches its share
    closed ───────────────────────► half-open ─────────────────────────────────► closed
      │  refused, hung, seen dead      │  ▲ time is up, seen alive
      └───────────────────────► open ◄─┘──┘
                                       a trial fails
Half-open lets a few lines through: one more with each success, twice as many with each look at a living
backend. What a line tells of an earlier state (`epoch`) is no news. Times are seconds of a clock that
never jumps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

LONGEST_S = 3.0
"""A backend that the probe sees alive is tried again at least this often."""
_FIRST_S = 0.25
_SOUR_AFTER = 5
_MOST = 1 << 20


class State(StrEnum):
    """How a backend stands."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Sign(StrEnum):
    """What the end of a line tells of its backend."""

    WELL = "well"
    """It answered as a working server does: also that a line is bad."""
    LOST = "lost"
    """It broke off while it had the line."""
    SOUR = "sour"
    """An error, or full: the line's fault or the backend's; many in a row are the backend's."""
    REFUSED = "refused"
    """It took no connection, or says that it is leaving: nothing was lost."""
    HUNG = "hung"
    """It was taken out for that; its lines bring no news."""
    NOTHING = "nothing"
    """Slow, or it never got there."""


_NO_NEWS = frozenset({Sign.NOTHING, Sign.HUNG})


@dataclass(frozen=True, slots=True)
class Circuit:
    """One backend's state. `until` infinite: open until the backend is seen alive."""

    state: State = State.CLOSED
    reason: str | None = None
    until: float = math.inf
    allowance: int = _MOST
    failures: int = 0
    """In a row: trials that failed."""
    sours: int = 0
    """In a row: server errors."""
    epoch: int = 0
    """Counts the times that it was opened or half-opened."""
    is_mild: bool = False
    """It only answers errors: better than no backend at all."""
    is_wary: bool = False
    """It hung: being alive proves nothing, only an answer does."""

    def heard(self, sign: Sign, *, epoch: int, share: int, now: float, why: str = "") -> Circuit:
        """Take in how a line ended that was sent in `epoch`. `share`: lines it may have when closed."""
        if sign is Sign.WELL:
            return self._answered(share)
        if sign in _NO_NEWS or self.state is State.OPEN or epoch != self.epoch:
            return self
        if sign is Sign.SOUR:
            return self._soured(now)
        if sign is Sign.LOST and self.state is State.CLOSED:
            return self._half_open(why, failures=1)
        return self._open(why, now)

    def hung(self, why: str, *, until: float) -> Circuit:
        """Take it out although it seems alive; try it once more at `until`."""
        if self.state is State.OPEN and self.is_wary:
            return self
        return Circuit(
            State.OPEN, why, until, 0, self.failures + 1, 0, self.epoch + 1, is_wary=True
        )

    def moved(self) -> Circuit:
        """Note that a hung engine does something again."""
        if self.state is State.OPEN and self.is_wary:
            return self._half_open(self.reason, failures=self.failures)
        return self

    def seen_dead(self, why: str, *, is_wary: bool = False) -> Circuit:
        """Take it out until it is seen alive. `is_wary`: it hangs, which is worse than being gone."""
        if self.state is State.OPEN and self.until == math.inf and self.is_wary is is_wary:
            return self if self.reason == why else replace(self, reason=why)
        return Circuit(State.OPEN, why, math.inf, 0, 0, 0, self.epoch + 1, is_wary=is_wary)

    def seen_alive(self, *, share: int) -> Circuit:
        """Let lines through again, few at first; called with each look."""
        if self.state is State.OPEN and self.until == math.inf:
            return self._half_open(self.reason, failures=self.failures)
        if self.state is State.HALF_OPEN and not (self.is_mild or self.is_wary):
            grown = self.allowance * 2
            return replace(self, allowance=grown) if grown < share else Circuit(epoch=self.epoch)
        return self

    def at(self, now: float) -> Circuit:
        """Return what it is at this moment: an open one whose time is up is half-open."""
        if self.state is State.OPEN and now >= self.until:
            return self._half_open(self.reason, failures=self.failures)
        return self

    def _answered(self, share: int) -> Circuit:
        if self.state is State.CLOSED:
            return replace(self, sours=0) if self.sours else self
        if self.state is State.OPEN:
            return self  # a line from before
        if self.allowance + 1 >= share:
            return Circuit(epoch=self.epoch)
        return replace(
            self,
            allowance=self.allowance + 1,
            failures=0,
            sours=0,
            is_mild=False,
            is_wary=False,
        )

    def _soured(self, now: float) -> Circuit:
        sours = self.sours + 1
        if sours < _SOUR_AFTER:
            return replace(self, sours=sours)
        opened = self._open("answers nothing but errors", now)
        return replace(opened, sours=sours, is_mild=True)

    def _half_open(self, why: str | None, *, failures: int) -> Circuit:
        return replace(
            self,
            state=State.HALF_OPEN,
            reason=why,
            until=math.inf,
            allowance=1,
            failures=failures,
            epoch=self.epoch + 1,
        )

    def _open(self, why: str, now: float) -> Circuit:
        failures = self.failures + 1
        return replace(
            self,
            state=State.OPEN,
            reason=why,
            until=now + min(LONGEST_S, _FIRST_S * 2.0 ** min(failures - 1, 30)),
            allowance=0,
            failures=failures,
            epoch=self.epoch + 1,
            is_mild=False,
        )
