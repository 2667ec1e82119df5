"""When a line that was not answered is sent again: the part of `policy` that depends on the line.

Pure but for the dice.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from .policy import FULL_COST, Wait
from .verdict import Retry

_MOST_DOUBLINGS = 32  # beyond it the cap holds anyway


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """How often and how soon a line is sent again."""

    max_attempts: int
    base_s: float
    max_s: float

    @property
    def budget(self) -> int:
        """What a line may spend, in parts of FULL_COST."""
        return self.max_attempts * FULL_COST

    def delay_s(self, verdict: Retry, *, tries: int) -> float:
        """Return how long a line waits after its try number `tries` (from 1): full jitter, as drawn."""
        match verdict.policy.wait:
            case Wait.NONE:
                return 0.0
            case Wait.LONGEST:
                return self.max_s
            case Wait.BACK_OFF | Wait.ASKED:
                doubled = self.base_s * 2 ** min(tries - 1, _MOST_DOUBLINGS)
                drawn = random.uniform(0, min(self.max_s, doubled))  # noqa: S311 - no secret
                return max(drawn, verdict.after_s or 0.0)
