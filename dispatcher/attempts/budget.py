"""How many retries a batch may afford: a token bucket. Pure; the clock is an argument.

A retry costs a token. First attempts earn a fifth of one each, so that in the long run retries are at most a
sixth of what is sent while there is new work; a retry that succeeded returns its token, so that a fleet which
recovers is not held back. Some tokens come by themselves. With an empty bucket a retry is never refused:
it waits, or takes a place that no first attempt wants (`retrying`).
"""

from __future__ import annotations

from dataclasses import dataclass

EARNED_PER_FIRST_TRY = 0.2
EARNED_PER_S = 10.0
"""So that the retries of a batch without new work go on."""
CAPACITY = 100.0
"""As much as one server's loss may cost at once without anybody waiting."""


@dataclass(slots=True)
class Budget:
    """The tokens of one batch."""

    at: float
    """Monotonic seconds of the last look."""
    tokens: float = CAPACITY

    def earn(self, tokens: float = EARNED_PER_FIRST_TRY) -> None:
        """Take in what a first attempt earns, or what a retry that succeeded returns (1)."""
        self.tokens = min(CAPACITY, self.tokens + tokens)

    def take(self, now: float) -> bool:
        """Spend a token, if there is one."""
        self.earn(max(0.0, now - self.at) * EARNED_PER_S)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True
