"""Models that nobody serves: how long already, and when their lines have waited long enough. Pure.

A server restarts, an adapter is loaded anew, a swap takes its time: a model that is gone for a moment is no
fault of a line. Only one that no living server has served for the whole grace is taken to be gone.
"""

from __future__ import annotations

from collections.abc import Callable

_MOST_MODELS = 10_000
"""Lines may name any; beyond so many the oldest begin to wait anew."""


class Unserved:
    """Since when each model that was asked for has been served by nobody."""

    def __init__(self, *, grace_s: float) -> None:
        self._grace_s = grace_s
        self._since: dict[str, float] = {}

    def is_gone(self, model: str, now: float) -> bool:
        """Tell of a model that nobody serves whether its grace is over; the first call starts it."""
        if model not in self._since and len(self._since) >= _MOST_MODELS:
            del self._since[next(iter(self._since))]
        return now - self._since.setdefault(model, now) >= self._grace_s

    def record_probe(self, is_served: Callable[[str], bool]) -> None:
        """Take in a look at the fleet. `is_served`: also true while nobody can know."""
        for model in [model for model in self._since if is_served(model)]:
            del self._since[model]
