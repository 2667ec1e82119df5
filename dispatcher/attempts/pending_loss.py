"""A line was lost: did its server die, or only the connection? That shows a little later. Pure.

the server refuses, hangs or is not there when it is looked at     it died
it answers another line, or is there at two looks                  it lives
"""

from __future__ import annotations

from dataclasses import dataclass

from dispatcher.backends.backend import Backend

_LOOKS = 2
"""The second look that ends after something happened has begun after it."""


@dataclass(frozen=True, slots=True)
class PendingLoss:
    """One loss: where, when (monotonic seconds), and after how many looks."""

    backend: Backend
    at: float
    looks: int
    is_sure: bool
    """The server itself said that it died."""

    def has_died(self, *, looks: int) -> bool | None:
        """Tell whether the server died; None while nobody knows."""
        if self.is_sure or self.backend.gone_at > self.at:
            return True
        if self.backend.answered_at > self.at or looks >= self.looks + _LOOKS:
            return False
        return None
