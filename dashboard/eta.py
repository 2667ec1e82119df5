"""When will it be done? Pure: speeds and what is left in, moments out.

Says nothing rather than something made up: no end before enough was finished, none for a batch that does
not move. Knows no text; the view words it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from batchline.model import Batch

_ENOUGH_LINES = 200
_ENOUGH_RATIO = 0.005
_ENOUGH_S = 60
_SMALL_RATIO = 0.05
_SMALL_S = 10
_HOLD_S = 60
_HOLD_RATIO = 0.02
_FAR_S = 30 * 60
_FAR_STEP_S = 300
NEAR_S = 5 * 60
_NEAR_STEP_S = 60


@dataclass(frozen=True, slots=True)
class Pace:
    """One running batch: lines left, lines per second, and how much one line costs (any unit)."""

    batch_id: str
    left: int
    per_s: float
    cost: float = 1.0


def is_telling(batch: Batch, *, now: float) -> bool:
    """Tell whether enough lines finished to foresee the end.

    Large batches: 200 lines or 0.5 %, and a minute. Small ones: 5 % and ten seconds.
    """
    if batch.in_progress_at is None or not batch.counts.finished:
        return False
    ran_s = now - batch.in_progress_at
    finished, total = batch.counts.finished, batch.counts.total
    if ran_s >= _ENOUGH_S and finished >= max(_ENOUGH_LINES, _ENOUGH_RATIO * total):
        return True
    return ran_s >= _SMALL_S and finished >= _SMALL_RATIO * total


def foresee(paces: Sequence[Pace], *, is_shared: bool) -> dict[str, float]:
    """Return the seconds each batch still needs; a batch that stands still is left out.

    With `is_shared` the servers are full, so each end frees its share for the others, in proportion.
    """
    running = [p for p in paces if p.per_s > 0]
    ends: dict[str, float] = {}
    passed_s = 0.0
    while running:
        first = min(running, key=lambda p: p.left / p.per_s)
        step_s = first.left / first.per_s
        passed_s += step_s
        ends[first.batch_id] = passed_s
        others = [p for p in running if p is not first]
        speed_up = 1.0
        if is_shared and others:
            rest = sum(p.per_s * p.cost for p in others)
            speed_up = 1 + first.per_s * first.cost / rest if rest > 0 else 1.0
        running = [
            replace(p, left=max(0, p.left - round(p.per_s * step_s)), per_s=p.per_s * speed_up)
            for p in others
        ]
    return ends


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
