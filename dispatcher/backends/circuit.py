"""The circuit of one backend: whether lines may be sent there, and how many. Pure.

              broke off                                allowance reaches its share
    closed ───────────────────────► half-open ─────────────────────────────────► closed
      │  refused, hung, seen dead      │  ▲ time is up, seen alive
      ├───────────────────────► open ◄─┘──┘
      │                          a line fails
      └ errors only, unusable ► open, needs proof ── a canary is answered ──► half-open
Half-open lets a few lines through: one more with each success, twice as many with each look at a living
backend. What a line tells of an earlier state (`epoch`) is no news. A backend that answers, but not as a
working server does, proves by a canary (`canary`) that it works: no line is spent on finding out. Times are
seconds of a clock that never jumps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

LONGEST_S = 3.0
"""A backend that the probe sees alive is tried again at least this often."""
ERRORS = 5
"""So many in a row without an answer between are the backend's, not the lines'."""
_FIRST_S = 0.25
_TRUSTED_S = 2.0
_LONGEST_TRUSTED_S = 10.0
"""A server that was proven well and falls sick may cost lines their attempts for so long."""
_PROVEN_ALLOWANCE = 8
_MOST = 1 << 20


class State(StrEnum):
    """How a backend stands."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Signal(StrEnum):
    """What the end of a line tells of its backend."""

    OK = "ok"
    """It answered the line."""
    REJECTED = "rejected"
    """It says that the line is bad: that proves neither that it works nor that it does not."""
    LOST = "lost"
    """It broke off while it had the line."""
    ERROR = "error"
    """The line's fault or the backend's; many in a row are the backend's."""
    FULL = "full"
    """It has no room at present (`pressure`)."""
    UNUSABLE = "unusable"
    """It lets nobody in who comes as we do: the operator's matter, never the line's."""
    REFUSED = "refused"
    """It took no connection, or says that it is leaving: nothing was lost."""
    HUNG = "hung"
    """It was taken out for that; its lines bring no news."""
    NONE = "none"
    """It never got there, or it lacks what the line needs (`lacks`)."""


_NO_NEWS = frozenset({Signal.NONE, Signal.HUNG, Signal.FULL, Signal.REJECTED})


@dataclass(frozen=True, slots=True)
class Circuit:
    """One backend's state. `until` infinite: open until the backend is seen alive."""

    state: State = State.CLOSED
    reason: str | None = None
    until: float = math.inf
    allowance: int = _MOST
    failures: int = 0
    """In a row: lines and canaries that failed."""
    errors: int = 0
    """In a row: server errors."""
    epoch: int = 0
    """Counts the times that it was opened or half-opened."""
    needs_proof: bool = False
    """Open until a canary is answered: being alive proves nothing."""
    trusted_until: float = -math.inf
    """A canary was answered just now: what fails until then is the lines' fault."""
    proofs: int = 0
    """In a row: canaries that were answered, each after an alarm that was false."""
    is_after_hang: bool = False
    """It hung: being alive proves nothing, only an answer does."""

    @property
    def is_spotless(self) -> bool:
        """Whether an answer is no news: it is closed, and no error came since the last one."""
        return self.state is State.CLOSED and not self.errors

    def record_result(
        self,
        signal: Signal,
        *,
        epoch: int,
        share: int,
        now: float,
        why: str = "",
        most_errors: int = ERRORS,
    ) -> Circuit:
        """Take in how a line ended that was sent in `epoch`.

        `share`: lines it may have when closed. `most_errors`: so many in a row are the backend's.
        """
        if signal is Signal.OK:
            return self._record_answer(share)
        if signal in _NO_NEWS or self.state is State.OPEN or epoch != self.epoch:
            return self
        if signal is Signal.ERROR:
            errors = replace(self, errors=self.errors + 1)
            return errors.require_proof(only_errors(why), now, after=most_errors)
        if signal is Signal.UNUSABLE:
            return self.require_proof(why, now)
        if signal is Signal.LOST and self.state is State.CLOSED:
            return self._half_open(why, failures=1)
        return self._open(why, now)

    def require_proof(self, why: str, now: float, *, after: int = 0) -> Circuit:
        """Take it out until a canary is answered, unless one was just now.

        `after`: so many errors in a row are needed.
        """
        if self.errors < after or now < self.trusted_until:
            return self
        return replace(
            self,
            state=State.OPEN,
            reason=why,
            until=now,
            allowance=0,
            failures=0,
            epoch=self.epoch + 1,
            needs_proof=True,
            is_after_hang=False,
        )

    def is_due(self, now: float) -> bool:
        """Whether a canary shall be sent now."""
        return self.needs_proof and now >= self.until

    def record_proof(self, now: float) -> Circuit:
        """Note that a canary was answered: what looked like its fault is the lines'."""
        if not self.needs_proof:
            return self
        trusted_s = min(_LONGEST_TRUSTED_S, _TRUSTED_S * 2.0 ** min(self.proofs, 30))
        opened = self._half_open(self.reason, failures=0)
        return replace(
            opened,
            allowance=_PROVEN_ALLOWANCE,
            errors=0,
            needs_proof=False,
            trusted_until=now + trusted_s,
            proofs=self.proofs + 1,
        )

    def record_failed_proof(self, why: str, now: float) -> Circuit:
        """Note that a canary was not answered either; the next one comes later."""
        if not self.needs_proof:
            return self
        later_s = min(LONGEST_S, _FIRST_S * 2.0 ** min(self.failures, 30))
        failures = self.failures + 1
        return replace(self, reason=why, until=now + later_s, failures=failures, proofs=0)

    def record_hang(self, why: str, *, until: float) -> Circuit:
        """Take it out although it seems alive; try it once more at `until`."""
        if self.state is State.OPEN and self.is_after_hang:
            return self
        return Circuit(
            State.OPEN, why, until, 0, self.failures + 1, 0, self.epoch + 1, is_after_hang=True
        )

    def record_movement(self) -> Circuit:
        """Note that a hung engine does something again."""
        if self.state is State.OPEN and self.is_after_hang:
            return self._half_open(self.reason, failures=self.failures)
        return self

    def record_death(self, why: str, *, is_after_hang: bool = False) -> Circuit:
        """Take it out until it is seen alive. `is_after_hang`: it hangs, which is worse than being gone."""
        is_known = self.state is State.OPEN and self.until == math.inf
        if is_known and self.is_after_hang is is_after_hang:
            return self if self.reason == why else replace(self, reason=why)
        return Circuit(
            State.OPEN, why, math.inf, 0, 0, 0, self.epoch + 1, is_after_hang=is_after_hang
        )

    def record_alive(self, *, share: int) -> Circuit:
        """Let lines through again, few at first; called with each look."""
        if self.state is State.OPEN and self.until == math.inf:
            return self._half_open(self.reason, failures=self.failures)
        if self.state is State.HALF_OPEN and not self.is_after_hang:
            grown = self.allowance * 2
            return replace(self, allowance=grown) if grown < share else self._closed()
        return self

    def at(self, now: float) -> Circuit:
        """Return what it is at this moment: an open one whose time is up is half-open."""
        if self.state is State.OPEN and not self.needs_proof and now >= self.until:
            return self._half_open(self.reason, failures=self.failures)
        return self

    def _record_answer(self, share: int) -> Circuit:
        if self.state is State.CLOSED:
            return replace(self, errors=0) if self.errors else self
        if self.state is State.OPEN:
            return self  # a line from before
        if self.allowance + 1 >= share:
            return replace(self._closed(), errors=0)
        return replace(
            self, allowance=self.allowance + 1, failures=0, errors=0, is_after_hang=False
        )

    def _closed(self) -> Circuit:
        """Return it closed; an answer forgets errors, being alive does not."""
        return Circuit(
            epoch=self.epoch,
            errors=self.errors,
            trusted_until=self.trusted_until,
            proofs=self.proofs,
        )

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
        )


def only_errors(why: str) -> str:
    """Say of a backend that it answers nothing but errors, the last one being `why`."""
    return f"answers nothing but errors ({why})"
