"""How fast a batch moves and when it will be done: the one estimate of the page and the command line. Pure.

A track remembers what was finished at moments; rates and ends follow from it. No end is told before enough
was finished, none for a batch that does not move.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from . import figures

SPAN_S = 3600
STEP_S = 10
RATE_WINDOW_S = 60
END_WINDOW_S = 600
NEAR_S = 5 * 60
"""An end that is nearer is told in words alone, without a time of day."""
POINTS_KEPT = SPAN_S // STEP_S + 2
_MIN_SPAN_S = 2  # a shorter look says nothing about speed
_ENOUGH_LINES = 200  # `is_telling`: of a large batch
_ENOUGH_RATIO = 0.005
_ENOUGH_S = 60
_SMALL_RATIO = 0.05  # and of a small one
_SMALL_S = 10
_HOLD_S = 60  # `steady`: what the shown end may be off by
_HOLD_RATIO = 0.02
_FAR_S = 30 * 60  # `rounded`: in which steps
_FAR_STEP_S = 300
_NEAR_STEP_S = 60


@dataclass(frozen=True, slots=True)
class _Point:
    at: float
    finished: int
    output_tokens: int


class Track:
    """What one batch had finished at moments of the last hour: one each ten seconds, and the newest."""

    def __init__(self) -> None:
        self._points: deque[_Point] = deque(maxlen=POINTS_KEPT)
        self._moved_at: float | None = None

    def add(
        self, at: float, *, finished: int, output_tokens: int = 0, ran_s: float | None = None
    ) -> None:
        """Note one look; `at` never runs backwards. `ran_s`: how long the batch has been in progress."""
        if not self._points:
            self._moved_at = at
            if finished and ran_s is not None and ran_s <= STEP_S:
                self._points.append(_Point(at - max(1, ran_s), 0, 0))
        elif finished > self._points[-1].finished:
            self._moved_at = at
        if not finished:  # waiting its turn is not being slow
            self._points.clear()
        if len(self._points) > 1 and at - self._points[-2].at < STEP_S:
            self._points.pop()
        self._points.append(_Point(at, finished, output_tokens))

    @property
    def finished(self) -> list[tuple[float, float]]:
        """Lines finished at moments, oldest first."""
        return [(p.at, p.finished) for p in self._points]

    def rate(self, *, window_s: float = RATE_WINDOW_S) -> float | None:
        """Lines finished per second over the window; None while too little was seen."""
        return slope(self.finished, window_s)

    def token_rate(self) -> float | None:
        """Output tokens of finished lines per second."""
        return slope([(p.at, p.output_tokens) for p in self._points], RATE_WINDOW_S)

    def moving_rate(self) -> float | None:
        """Return the rate of the hour without the stretch at its end in which nothing finished."""
        points = self.finished
        while len(points) > 1 and points[-2][1] == points[-1][1]:
            points.pop()
        return slope(points, SPAN_S)

    def still_for_s(self, *, now: float) -> float | None:
        """Seconds since a line last finished while this watched; None if it never did."""
        return None if self._moved_at is None else now - self._moved_at


@dataclass(frozen=True, slots=True)
class Moving:
    """A batch that runs: its lines, for how long, how many a second, and what one costs (any unit)."""

    batch_id: str
    finished: int
    total: int
    ran_s: float | None
    per_s: float
    cost: float = 1.0

    @property
    def left_s(self) -> float:
        """How long its other lines take at this rate."""
        return (self.total - self.finished) / self.per_s


@dataclass(frozen=True, slots=True)
class Told:
    """An end as it is told: a time of day, None where it is too near for one, and how far away, in words."""

    at: int | None
    away: str


def slope(points: Sequence[tuple[float, float]], window_s: float) -> float | None:
    """Return the growth per second over the window that ends at the last point, None from too few."""
    if not points:
        return None
    last_t, last_v = points[-1]
    first_t, first_v = next(p for p in points if p[0] >= last_t - window_s)
    if last_t - first_t < _MIN_SPAN_S:
        return None
    return max(0.0, (last_v - first_v) / (last_t - first_t))


def ends(
    moving: Sequence[Moving],
    *,
    now: float,
    shown: Mapping[str, float],
    is_shared: bool = False,
) -> dict[str, float]:
    """Foresee when each batch will be done; one of which that cannot be said is left out.

    `shown` are the ends told before: each stays unless the new one differs noticeably. `is_shared` as for
    `foresee`.
    """
    left_s = foresee([m for m in moving if is_telling(m)], is_shared=is_shared)
    return {b: steady(shown.get(b), now + s, now=now) for b, s in left_s.items()}


def is_telling(moving: Moving) -> bool:
    """Tell whether enough lines finished to foresee the end.

    Large batches: 200 lines, or 0.5 % where that is more, and a minute. Small ones: 5 % and ten seconds.
    """
    ran_s, finished, total = moving.ran_s, moving.finished, moving.total
    if ran_s is None or not finished:
        return False
    if ran_s >= _ENOUGH_S and finished >= max(_ENOUGH_LINES, _ENOUGH_RATIO * total):
        return True
    return ran_s >= _SMALL_S and finished >= _SMALL_RATIO * total


def foresee(moving: Sequence[Moving], *, is_shared: bool) -> dict[str, float]:
    """Return the seconds each batch still needs; a batch that stands still is left out.

    With `is_shared` the servers are full, so each end frees its share for the others, in proportion.
    """
    running = [m for m in moving if m.per_s > 0]
    needed: dict[str, float] = {}
    passed_s = 0.0
    while running:
        first = min(running, key=lambda m: m.left_s)
        passed_s += first.left_s
        needed[first.batch_id] = passed_s
        others = [m for m in running if m is not first]
        speed_up = 1.0
        if is_shared and others:
            rest = sum(m.per_s * m.cost for m in others)
            speed_up = 1 + first.per_s * first.cost / rest if rest > 0 else 1.0
        running = [
            replace(
                m,
                finished=min(m.total, m.finished + round(m.per_s * first.left_s)),
                per_s=m.per_s * speed_up,
            )
            for m in others
        ]
    return needed


def steady(shown: float | None, fresh: float, *, now: float) -> float:
    """Keep the end that is shown unless the fresh one differs by more than 2 % or a minute."""
    if shown is None or shown <= now:
        return fresh
    hold_s = max(_HOLD_S if fresh - now > NEAR_S else 0, _HOLD_RATIO * (fresh - now))
    return shown if abs(fresh - shown) <= hold_s else fresh


def rounded(end: float, *, now: float) -> int:
    """Round an end up to what is honest: 5 minutes when far, one minute when near."""
    step = _FAR_STEP_S if end - now > _FAR_S else _NEAR_STEP_S
    return int(-(-end // step) * step)


def told(end: float, *, now: float) -> Told:
    """Say when an end will be, as exactly as it can be known."""
    if end - now <= NEAR_S:
        return Told(None, "a few minutes" if end - now > _NEAR_STEP_S else "under a minute")
    at = rounded(end, now=now)
    step = _FAR_STEP_S if at - now > _FAR_S else _NEAR_STEP_S
    return Told(at, figures.duration(max(step, round((at - now) / step) * step)))
