"""A line was lost: did its server die, or only the connection? That shows a little later. Pure.

the server refuses, hangs or is not there when it is looked at     it died
it answers another line, or is there at two looks                  it lives
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from .placement import Berth

_LOOKS = 2
"""The second look that ends after something happened has begun after it."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """One loss, from which moment on, by how many looks known."""

    berth: Berth
    at: float
    looks: int
    is_sure: bool

    @classmethod
    def begin(cls, berth: Berth, *, looks: int, is_sure: bool) -> Doubt:
        """Begin to doubt now. `is_sure`: the server itself said that it died."""
        return cls(berth, time.monotonic(), looks, is_sure)

    def has_died(self, *, looks: int) -> bool | None:
        """Tell whether the server died; None while nobody knows."""
        if self.is_sure or self.berth.gone_at > self.at:
            return True
        if self.berth.answered_at > self.at or looks >= self.looks + _LOOKS:
            return False
        return None
