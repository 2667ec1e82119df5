"""How many lines a backend takes before it says that it is full (429, 503, 529). Pure.

Additive growth, and a cut to what it really holds: a server that is full is neither broken nor dead, so its
circuit hears nothing of it. One that holds none of ours and is full all the same rests for a moment. Times
are seconds of a clock that never jumps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

_GROWTH = 0.125
"""With each answer: so that a round of answers lets an eighth more in."""
_FIRST_S = 0.05
_LONGEST_S = 3.0


@dataclass(frozen=True, slots=True)
class Pressure:
    """What one backend bears at present."""

    cap: float = math.inf
    """So many lines at most."""
    until: float = -math.inf
    """Nothing before this time."""
    refusals: int = 0
    """In a row: told to be full while it held none of ours."""

    def record_full(self, *, held: int, now: float) -> Pressure:
        """Take in that it refused a line for lack of room while it `held` so many others of ours."""
        if held:
            return replace(self, cap=max(1.0, min(self.cap, held)), until=max(self.until, now))
        pause_s = min(_LONGEST_S, _FIRST_S * 2.0 ** min(self.refusals, 30))
        return Pressure(1.0, max(self.until, now + pause_s), self.refusals + 1)

    def record_answer(self) -> Pressure:
        """Take in that it answered a line."""
        if self.cap == math.inf:
            return self
        return Pressure(self.cap + _GROWTH, -math.inf)

    def lets(self, *, held: int, now: float) -> bool:
        """Whether one more line may be sent."""
        return held < self.cap and now >= self.until
