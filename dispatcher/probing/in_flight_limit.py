"""How many requests may be in flight: a pure controller over what the engines report.

Aim: every backend has a short queue of its own, never a long one (measured: 1.1 to 1.25 requests in
flight per running one keep an engine full). While no engine has a queue and we are the limit, it doubles,
and grows by a quarter once a queue was seen; with a long queue the limit falls to what is useful. Backends
without metrics get a fixed share. What is late to tell changes nothing: those that tell stand for it, and
with none the limit is kept. A fixed `max_in_flight` is obeyed as an upper bound. Backends that come and go
take their part of the limit along; how gently one that came back is filled is its circuit's decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchline.model import BackendStatus

START_PER_BACKEND = 32
BLIND_PER_BACKEND = 64
"""For a backend without metrics: enough to fill a small server, little enough not to flood it."""
_MOST = 8192
_FULL = 0.9
_QUEUE_GOAL = 0.25


@dataclass(frozen=True, slots=True)
class InFlightLimit:
    """The present limit, and the fixed bound if there is one."""

    value: int
    bound: int | None = None
    alive: int = 0
    """How many backends the limit is meant for."""
    has_seen_queue: bool = False
    """Whether an engine was ever full: the size that keeps them so is about known."""

    @classmethod
    def start(cls, *, bound: int | None) -> InFlightLimit:
        """Begin gently."""
        return cls(min(START_PER_BACKEND, bound or START_PER_BACKEND), bound)

    def step(self, backends: Sequence[BackendStatus], *, in_flight: int) -> InFlightLimit:
        """Return the limit after one look at the backends."""
        alive = [b for b in backends if b.alive]
        if not alive:
            return self
        sized = self.value * len(alive) // (self.alive or len(alive))
        limit = self._next(alive, sized, in_flight)
        has_queue = self.has_seen_queue or any(b.waiting for b in alive)
        return InFlightLimit(
            max(1, min(limit, self.bound or _MOST)), self.bound, len(alive), has_queue
        )

    def _next(self, alive: Sequence[BackendStatus], limit: int, in_flight: int) -> int:
        seeing = [b for b in alive if b.running is not None and not b.is_stale]
        if not seeing:
            is_late = any(b.running is not None for b in alive)
            return limit if is_late else self.bound or BLIND_PER_BACKEND * len(alive)
        running = sum(b.running or 0 for b in seeing)
        waiting = sum(b.waiting or 0 for b in seeing)
        floor = START_PER_BACKEND * len(alive)
        if waiting > max(_QUEUE_GOAL * running, len(seeing)):
            return max(floor, round(running * (1 + _QUEUE_GOAL) * len(alive) / len(seeing)))
        if waiting <= _QUEUE_GOAL / 2 * running and in_flight >= limit * _FULL:
            return max(floor, limit + max(8, limit // 4) if self.has_seen_queue else 2 * limit)
        return max(floor, limit)
