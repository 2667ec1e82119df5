"""Totals at moments of the last hour, and the rates and series that follow from them.

The store holds totals, not speeds. Bounded: one point each ten seconds for an hour, and the newest. No text
and no clock: the time comes with each overview.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

from batchline.estimate import POINTS_KEPT, RATE_WINDOW_S, STEP_S, Track, slope
from batchline.store.records import Overview

_BATCHES_KEPT = 64  # more rows are never drawn
_GAP_S = 3.5 * STEP_S  # points further apart are not joined: the poller was down between them
_LATE_S = 10  # a report older than this says nothing about now


@dataclass(frozen=True, slots=True)
class Point:
    """Totals since the poller started, and gauges, at one moment."""

    at: float
    finished: int
    failed: int
    output_tokens: int
    tokens_per_s: float | None
    in_flight: int | None


class History:
    """The last hour of the service and of each open batch."""

    def __init__(self) -> None:
        self._points: deque[Point] = deque(maxlen=POINTS_KEPT)
        self._counts: dict[str, tuple[int, int, int]] = {}
        self._tracks: dict[str, Track] = {}
        self._read_at: float | None = None

    def add(self, seen: Overview, *, at: float) -> None:
        """Remember one overview, read at `at`; times must not run backwards (an earlier one is dropped)."""
        if self._read_at is not None and at < self._read_at:
            return
        finished, failed, output_tokens = self._moved_since(seen)
        last = self._points[-1] if self._points else None
        point = Point(
            at=at,
            finished=(last.finished if last else 0) + finished,
            failed=(last.failed if last else 0) + failed,
            output_tokens=(last.output_tokens if last else 0) + output_tokens,
            tokens_per_s=_tokens_per_s(seen, at),
            in_flight=_in_flight(seen, at),
        )
        if len(self._points) > 1 and at - self._points[-2].at < STEP_S:
            self._points.pop()
        self._points.append(point)
        for batch in seen.open_batches[:_BATCHES_KEPT]:
            self._tracks.setdefault(batch.id, Track()).add(
                at,
                finished=batch.counts.finished,
                output_tokens=batch.usage.output_tokens,
                ran_s=batch.ran_s(now=at),
            )
        for gone in self._tracks.keys() - {b.id for b in seen.open_batches}:
            del self._tracks[gone]
        self._read_at = at

    def track(self, batch_id: str) -> Track:
        """Return what is remembered of one batch; of one that was never seen, nothing."""
        return self._tracks.get(batch_id) or Track()

    def total_rate(self, *, window_s: float = RATE_WINDOW_S) -> float | None:
        """Lines of all batches finished per second over the window."""
        return slope([(p.at, p.finished) for p in self._points], window_s)

    def token_rate(self) -> float | None:
        """Output tokens per second: the sum that the backends report, else of lines finished lately."""
        if self._points and self._points[-1].tokens_per_s is not None:
            return self._points[-1].tokens_per_s
        return slope([(p.at, p.output_tokens) for p in self._points], RATE_WINDOW_S)

    def last_hour(self) -> tuple[int, int, int]:
        """Finished, failed and output tokens of the last hour."""
        if not self._points:
            return 0, 0, 0
        first, last = self._points[0], self._points[-1]
        return (
            last.finished - first.finished,
            last.failed - first.failed,
            last.output_tokens - first.output_tokens,
        )

    @property
    def seen_s(self) -> float:
        """How far back the points reach."""
        return self._points[-1].at - self._points[0].at if self._points else 0.0

    def spread(self) -> tuple[float, float] | None:
        """Return the slow and the fast tenth of the last quarter hour's minutes, as parts of the mean.

        None before five minutes were seen: a range from less would be made up.
        """
        points = [(p.at, p.finished) for p in self._points]
        minutes = [m for m in rates(points, span_s=900, buckets=15) if m is not None]
        mean = sum(minutes) / len(minutes) if minutes else 0.0
        if len(minutes) < 5 or mean <= 0:  # noqa: PLR2004
            return None
        minutes.sort()
        edge = len(minutes) // 10
        return minutes[edge] / mean, minutes[-1 - edge] / mean

    def series(self, name: str, *, span_s: float, buckets: int) -> list[float | None]:
        """Return one of finished, tokens, in_flight, failed_share, oldest bucket first."""
        points = list(self._points)
        match name:
            case "finished":
                return rates([(p.at, p.finished) for p in points], span_s=span_s, buckets=buckets)
            case "in_flight":
                gauge = [(p.at, p.in_flight) for p in points]
                return _gauges(gauge, span_s=span_s, buckets=buckets)
            case "failed_share":
                failed = rates([(p.at, p.failed) for p in points], span_s=span_s, buckets=buckets)
                whole = rates([(p.at, p.finished) for p in points], span_s=span_s, buckets=buckets)
                return [
                    None if f is None or w is None else f / w if w else 0.0
                    for f, w in zip(failed, whole, strict=True)
                ]
            case _:
                if any(p.tokens_per_s is not None for p in points):
                    gauge_of = [(p.at, p.tokens_per_s) for p in points]
                    return _gauges(gauge_of, span_s=span_s, buckets=buckets)
                tokens = [(p.at, p.output_tokens) for p in points]
                return rates(tokens, span_s=span_s, buckets=buckets)

    def batch_series(self, batch_id: str, *, span_s: float, buckets: int) -> list[float | None]:
        """Return the lines per second of one batch, oldest bucket first."""
        points = self.track(batch_id).finished
        until = self._points[-1].at if self._points else None
        return rates(points, span_s=span_s, buckets=buckets, until=until)

    def _moved_since(self, seen: Overview) -> tuple[int, int, int]:
        """Add up what every batch gained since the last overview, those that ended since then included."""
        moved = [0, 0, 0]
        counts = {}
        for batch in (*seen.open_batches, *seen.finished):
            now = (batch.counts.finished, batch.counts.failed, batch.usage.output_tokens)
            is_new = self._read_at is not None and batch.created_at >= self._read_at - STEP_S
            before = self._counts.get(batch.id, (0, 0, 0) if is_new else now)
            counts[batch.id] = now
            moved = [m + max(0, n - b) for m, n, b in zip(moved, now, before, strict=True)]
        self._counts = counts
        return moved[0], moved[1], moved[2]


def rates(
    points: Sequence[tuple[float, float]],
    *,
    span_s: float,
    buckets: int,
    until: float | None = None,
) -> list[float | None]:
    """Turn a total at moments into its growth per second in equal buckets; None where unseen."""
    if len(points) < 2:  # noqa: PLR2004
        return [None] * buckets
    end = points[-1][0] if until is None else until
    step = span_s / buckets
    edges = [_at(points, end - span_s + i * step) for i in range(buckets + 1)]
    return [
        None if a is None or b is None else max(0.0, (b - a) / step) for a, b in pairwise(edges)
    ]


def _gauges(
    points: Sequence[tuple[float, float | None]], *, span_s: float, buckets: int
) -> list[float | None]:
    known = [(t, v) for t, v in points if v is not None]
    if not known:
        return [None] * buckets
    end, step = points[-1][0], span_s / max(1, buckets - 1)
    return [_at(known, end - span_s + i * step) for i in range(buckets)]


def _at(points: Sequence[tuple[float, float]], when: float) -> float | None:
    """Read a series between its points; None outside of it and inside a gap."""
    first = bisect_left(points, when - 1e-6, key=itemgetter(0))  # at or after `when`
    if first == len(points):
        return None
    after_t, after_v = points[first]
    if first == 0:
        return after_v if after_t - when < 1e-3 else None  # noqa: PLR2004
    before_t, before_v = points[first - 1]
    if after_t - before_t > _GAP_S:
        return None
    part = (when - before_t) / (after_t - before_t)
    return before_v + (after_v - before_v) * min(1.0, part)


def _tokens_per_s(seen: Overview, at: float) -> float | None:
    if seen.report is None or at - seen.report.at > _LATE_S:
        return None
    known = [
        b.output_tokens_per_s
        for b in seen.report.backends
        if b.alive and b.output_tokens_per_s is not None
    ]
    return sum(known) if known else None


def _in_flight(seen: Overview, at: float) -> int | None:
    if seen.report is None or at - seen.report.at > _LATE_S:
        return None
    return sum(seen.report.in_flight.values())
