"""How fast a batch moves and when it ends, from what was seen of it lately. Pure.

Counts every line alike: a plain recent rate, over the last minute. Nothing is predicted before enough
was seen to be worth reading.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_WINDOW_S = 60.0
_SPAN_S = 3.0  # less than this says more about the polling than about the batch
_FEW_MINUTES_S = 300
_HALF_HOUR_S = 1800


@dataclass(frozen=True, slots=True)
class _Sample:
    at_s: float
    finished: int
    tokens: int


class Pace:
    """Feed it with `observe`; read the rates per second, None while unknown."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()

    def observe(self, at_s: float, *, finished: int, tokens: int) -> None:
        """Note the counters at a (monotonic) time."""
        self._samples.append(_Sample(at_s, finished, tokens))
        while len(self._samples) > 2 and self._samples[1].at_s <= at_s - _WINDOW_S:  # noqa: PLR2004
            self._samples.popleft()

    @property
    def lines_per_s(self) -> float | None:
        """Lines that got their outcome, per second."""
        return self._rate(lambda s: s.finished)

    @property
    def tokens_per_s(self) -> float | None:
        """Tokens generated, per second."""
        return self._rate(lambda s: s.tokens)

    def left_s(self, *, remaining: int) -> float | None:
        """Return the seconds until `remaining` lines are done, None while nobody can know."""
        rate = self.lines_per_s
        return remaining / rate if rate else None

    def _rate(self, counter: Callable[[_Sample], int]) -> float | None:
        if not self._samples:
            return None
        first, last = self._samples[0], self._samples[-1]
        span_s = last.at_s - first.at_s
        if span_s < _SPAN_S:
            return None
        return max(0, counter(last) - counter(first)) / span_s


def rounded_left_s(left_s: float) -> int | None:
    """Round a time left as far as it can be known: 5 minutes, 1 minute, None for a few minutes."""
    if left_s <= _FEW_MINUTES_S:
        return None
    step = 300 if left_s > _HALF_HOUR_S else 60
    return round(left_s / step) * step
