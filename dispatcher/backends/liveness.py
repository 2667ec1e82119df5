"""Whether a backend hangs: it accepts connections and answers nothing, or its engine stands still.

Pure. Everything that vLLM tells of its engine counts as movement: tokens and requests, but also the
gauges of its cache. They move with each chunk of a long prompt that has no token to show yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_SILENT_PART = 5
"""Silence is told from work sooner than standing still is: the server answers beside its engine."""


@dataclass(frozen=True, slots=True)
class Liveness:
    """What the looks at one backend say of its life. Times are of a clock that never jumps."""

    engine: int | None = None
    """Stands for all that the engine's metrics say; None without metrics."""
    moved_at: float = 0.0
    """When they last said something new."""
    told_at: float = 0.0
    """When they last said anything: of the time since then nothing is known."""
    silent_since: float | None = None
    """Since when it has accepted connections and answered nothing; None while it answers."""

    def record_answer(self) -> Liveness:
        """Note that it answered a question, whatever it said."""
        return self if self.silent_since is None else replace(self, silent_since=None)

    def record_metrics(self, engine: int | None, *, now: float) -> Liveness:
        """Note what its metrics say; that is an answer, too."""
        moved_at = self.moved_at if engine == self.engine else now
        return Liveness(engine, moved_at, now)

    def is_late(self, *, answered_at: float) -> bool:
        """Whether only its answers to questions are late: it answered a line meanwhile."""
        return self.silent_since is not None and answered_at > self.silent_since

    def record_silence(self, *, since: float) -> Liveness:
        """Note that nothing came to a question asked at `since`."""
        return self if self.silent_since is not None else replace(self, silent_since=since)


@dataclass(frozen=True, slots=True)
class HangLimits:
    """How long is too long; None: never."""

    after_s: float | None

    @property
    def silent_s(self) -> float | None:
        """How long it may answer nothing."""
        return None if self.after_s is None else self.after_s / _SILENT_PART

    def silence(self, liveness: Liveness, *, answered_at: float, now: float) -> str | None:
        """Say that it hangs because it answers nothing, no line either, or None."""
        if self.silent_s is None or liveness.silent_since is None:
            return None
        silent_s = now - max(liveness.silent_since, answered_at)
        return "hangs: answers nothing" if silent_s >= self.silent_s else None

    def stillness(
        self, liveness: Liveness, *, in_flight: int, quiet_since: float, now: float
    ) -> str | None:
        """Say that its engine stands still, or None.

        `quiet_since`: when a line of ours last ended there, or the first was sent to an idle one.
        """
        if self.after_s is None or liveness.engine is None or not in_flight:
            return None
        still_s = min(now, liveness.told_at) - max(liveness.moved_at, quiet_since)
        if still_s < self.after_s:
            return None
        return f"hangs: its engine has done nothing for {still_s:.0f} s with {in_flight} requests"
