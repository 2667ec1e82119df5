"""Numbers to shapes: sparkline paths, axis steps and the segments of a progress bar.

Pure. A path is drawn in a 100 x 100 box that the page stretches; every curve starts from zero: one that
does not shows a wrong size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_HEADROOM = 1.12
_LEAST_FAILED = 1.2  # percent of the bar: a dozen failed of a million must still be seen
_LEAST_FLYING = 0.8
_STEPS = (1, 2, 3, 4, 5, 8, 10)


@dataclass(frozen=True, slots=True)
class Curve:
    """A line and the area under it, as SVG path data. Empty where nothing is known."""

    line: str
    area: str


@dataclass(frozen=True, slots=True)
class Bar:
    """Start and width of the parts of a progress bar, in percent."""

    done: float
    failed_from: float
    failed: float
    flying_from: float
    flying: float


def curve(values: Sequence[float | None], *, top: float | None = None) -> Curve:
    """Draw values at equal distances; unknown ones leave a gap. `top` is the value at full height."""
    peak = max((v for v in values if v is not None), default=0.0)
    scale = top or peak * _HEADROOM or 1.0
    step = 100 / max(1, len(values) - 1)
    lines, areas = [], []
    for run in _runs(values):
        points = [f"{i * step:.1f} {100 - 100 * v / scale:.1f}" for i, v in run]
        if len(points) == 1:  # a lone value is a short dash
            points.append(f"{min(100.0, run[0][0] * step + step / 2):.1f} {points[0].split()[1]}")
        first, last = points[0].split()[0], points[-1].split()[0]
        lines.append("M" + "L".join(points))
        areas.append("M" + "L".join(points) + f"L{last} 100L{first} 100Z")
    return Curve("".join(lines), "".join(areas))


def bar(*, completed: int, failed: int, flying: int, total: int) -> Bar:
    """Lay out finished, failed and in-flight lines so that none of them disappears."""
    if total <= 0:
        return Bar(0, 0, 0, 0, 0)
    flying = max(0, min(flying, total - completed - failed))
    failed_part = max(_LEAST_FAILED, 100 * failed / total) if failed else 0.0
    flying_part = max(_LEAST_FLYING, 100 * flying / total) if flying else 0.0
    done = min(100 * completed / total, 100 - failed_part - flying_part)
    return Bar(
        done=round(done, 2),
        failed_from=round(done, 2),
        failed=round(failed_part, 2),
        flying_from=round(done + failed_part, 2),
        flying=round(flying_part, 2),
    )


def axis_top(values: Sequence[float | None]) -> float:
    """Return a round number above all values that three divides well enough to be read."""
    peak = max((v for v in values if v is not None), default=0.0)
    if peak <= 0:
        return 3.0
    magnitude = 1.0
    while magnitude * 10 <= peak / 3:
        magnitude *= 10
    while magnitude > peak / 3:
        magnitude /= 10
    return next(3 * s * magnitude for s in _STEPS if 3 * s * magnitude >= peak)


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    runs: list[list[tuple[int, float]]] = []
    is_joined = False
    for index, value in enumerate(values):
        if value is not None:
            if not is_joined:
                runs.append([])
            runs[-1].append((index, value))
        is_joined = value is not None
    return runs
