"""What the page says about batches: the running rows, and the table of those that ended.

Pure. The fields of a row decide its HTML; what changes from second to second is in its figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from batchline import estimate, figures
from batchline.figures import plural, short_model, spell
from batchline.model import Batch, Counts, FleetReport
from batchline.states import BatchStatus
from batchline.store.records import Overview

from . import drawing
from .halt import Halt, halt
from .history import History
from .keys import Figures, curve, merged, under

ROWS_SHOWN = 8
FAULTS_SHOWN = 5
_SPARK_BUCKETS = 60
_FULL_RATIO = 0.9
_STALL_S = 300
_STALL_UNSTARTED_S = 900


@dataclass(frozen=True, slots=True)
class Pill:
    """A status as icon, word and colour."""

    word: str
    icon: str
    tone: str


@dataclass(frozen=True, slots=True)
class Row:
    """One open batch; its figures are under `b` and its `seq`.

    `end`: clock (when), near (soon), open (not yet known), none (see `pill`).
    """

    seq: int
    id: str
    name: str
    short_id: str
    model: str
    has_total: bool
    has_failed: bool
    pill: Pill | None
    end: str
    figures: Figures = field(repr=False)


@dataclass(frozen=True, slots=True)
class Running:
    """The panel of open batches; `idle_text` is shown when there is none."""

    rows: Sequence[Row]
    more: int
    idle_text: str
    figures: Figures = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ended:
    """One batch that ended, with where its results are."""

    id: str
    name: str
    pill: Pill
    requests: str
    failed: str
    has_failed: bool
    took: str
    ended_at: str
    output_url: str
    error_url: str
    faults: Sequence[tuple[str, str]]
    faults_total: int


@dataclass(frozen=True, slots=True)
class _End:
    """When a row says that it ends: the kind (see `Row`), the words, and a time to show."""

    kind: str
    text: str
    at: str = ""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of the open batches beyond their counts."""

    pills: Mapping[str, Pill | None]
    ends: Mapping[str, float]
    stalled: Sequence[tuple[Batch, float]]
    unserved: Sequence[str]
    is_full: bool


PILLS = {
    BatchStatus.VALIDATING: Pill("Validating", "validating", "run"),
    BatchStatus.IN_PROGRESS: Pill("Running", "running", "run"),
    BatchStatus.FINALIZING: Pill("Finalizing", "finalizing", "run"),
    BatchStatus.COMPLETED: Pill("Completed", "completed", "ok"),
    BatchStatus.FAILED: Pill("Failed", "failed", "bad"),
    BatchStatus.EXPIRED: Pill("Expired", "expired", "warn"),
    BatchStatus.CANCELLING: Pill("Cancelling", "cancelled", "warn"),
    BatchStatus.CANCELLED: Pill("Cancelled", "cancelled", ""),
}
PAUSED = Pill("Paused", "paused", "warn")
"""A batch that somebody paused; nothing is wrong with it or with the fleet."""
QUEUED = Pill("Queued", "queued", "")
WAITING = Pill("Waiting", "clock", "warn")
HELD_UP = Pill("Waiting", "clock", "warn")
"""A batch that waits while others go on, such as for room on the disk: a notice says why."""
_DOING = {
    BatchStatus.VALIDATING: "checking its lines",
    BatchStatus.FINALIZING: "writing the results",
    BatchStatus.CANCELLING: "keeping what finished",
}
_SET_ASIDE = {
    "dispatcher_died": "the dispatcher died on it again and again: resume or cancel it",
    "most_requests_failed": "most lines fail: resume or cancel it",
}
"""What the row of a batch that paused by itself says, by the code of its fault."""
HALTED = {
    Halt.ABSENT: WAITING,
    Halt.REFUSED: PAUSED,
    Halt.SILENT: WAITING,
    Halt.PAUSED: PAUSED,
    Halt.NO_BACKEND: Pill("No backend", "warning", "bad"),
}
NO_MODEL = Pill("No backend", "warning", "bad")


def look_ahead(
    seen: Overview, history: History, *, now: float, held: Mapping[str, float]
) -> Outlook:
    """Judge every open batch: its derived status, and when it will be done.

    `held` are the ends shown before: they stay unless the new ones differ noticeably.
    """
    report = seen.report
    flying = report.in_flight if report else {}
    is_full = bool(report and report.limit and sum(flying.values()) >= _FULL_RATIO * report.limit)
    pills = {b.id: _pill(b, seen, now=now) for b in seen.open_batches}
    stalled = []
    moving = []
    for batch in seen.open_batches:
        if pills[batch.id] is not None:
            continue
        still_s = _stalled_s(batch, history, flying.get(batch.id, 0), now=now)
        if still_s is not None:
            stalled.append((batch, still_s))
            pills[batch.id] = Pill(f"Stalled {figures.duration(still_s)}", "warning", "bad")
            continue
        moving.append(
            estimate.Moving(
                batch.id,
                batch.counts.finished,
                batch.counts.total,
                ran_s=batch.ran_s(now=now),
                per_s=history.track(batch.id).rate(window_s=_window_s(report, now=now)) or 0.0,
                cost=max(1.0, batch.usage.output_tokens / max(1, batch.counts.completed)),
            )
        )
    ends = estimate.ends(moving, now=now, shown=held, is_shared=is_full)
    waiting_for = {b.model for b in seen.open_batches if pills[b.id] is NO_MODEL and b.model}
    return Outlook(pills, ends, stalled, sorted(waiting_for), is_full)


def _pill(batch: Batch, seen: Overview, *, now: float) -> Pill | None:
    """Return the status to show instead of an end, or None for a batch that runs."""
    if seen.report is not None and batch.id in seen.report.waiting:
        return HELD_UP
    if batch.status is not BatchStatus.IN_PROGRESS:
        return PILLS[batch.status]
    if batch.paused_at is not None:
        return PAUSED
    report, halted = seen.report, halt(seen, now=now)
    if report is None or halted is not None:
        return HALTED[halted or Halt.ABSENT]
    if report.models and batch.model and batch.model not in report.models:
        return NO_MODEL
    is_queued = not batch.counts.finished and not report.in_flight.get(batch.id)
    return QUEUED if is_queued else None


def _window_s(report: FleetReport | None, *, now: float) -> float:
    """Return ten minutes, or the time since a backend last came or went, as speed changed then."""
    changed_at = max((b.since for b in report.backends), default=0) if report else 0
    return max(estimate.RATE_WINDOW_S, min(estimate.END_WINDOW_S, now - changed_at))


def _stalled_s(batch: Batch, history: History, flying: int, *, now: float) -> float | None:
    """Return for how long nothing finished, if that is longer than these lines usually take."""
    track = history.track(batch.id)
    still_s = track.still_for_s(now=now)
    if still_s is None or not flying:
        return None
    if not batch.counts.finished:
        return still_s if still_s >= _STALL_UNSTARTED_S else None
    usual = track.moving_rate()
    line_s = flying / usual if usual else 0.0  # Little's law: time in flight = in flight / rate
    return still_s if still_s >= max(_STALL_S, 3 * line_s) else None


def running(
    seen: Overview, history: History, outlook: Outlook, *, now: float, span_s: float
) -> Running:
    """Describe the open batches, oldest first."""
    shown = seen.open_batches[:ROWS_SHOWN]
    rows = tuple(_row(b, seen, history, outlook, now=now, span_s=span_s) for b in shown)
    head = {"run.head": plural(len(seen.open_batches), "batch") if seen.open_batches else ""}
    return Running(
        rows,
        len(seen.open_batches) - len(shown),
        "" if rows else _idle_text(seen, now),
        merged([head, *(row.figures for row in rows)]),
    )


def _row(
    batch: Batch,
    seen: Overview,
    history: History,
    outlook: Outlook,
    *,
    now: float,
    span_s: float,
) -> Row:
    pill = outlook.pills[batch.id]
    end = _end(batch, pill, outlook, now=now)
    rate = history.track(batch.id).rate() if pill is None else None
    key = f"b.{batch.seq}"
    series = history.batch_series(batch.id, span_s=span_s, buckets=_SPARK_BUCKETS)
    counts = _counts(batch.counts, _flying(batch, seen, now=now))
    moving = {
        "rate": "" if rate is None else f"{figures.rate(rate)} per second",
        "at": end.at,
        "in": end.text,
    }
    return Row(
        seq=batch.seq,
        id=batch.id,
        name=batch.name,
        short_id=short_id(batch.id) if batch.name != batch.id else "",
        model=short_model(batch.model) if batch.model else "",
        has_total=batch.counts.total > 0,
        has_failed=batch.counts.failed > 0,
        pill=pill,
        end=end.kind,
        figures=merged([under(key, {**counts, **moving}), curve(key, series)]),
    )


def _flying(batch: Batch, seen: Overview, *, now: float) -> int:
    if seen.report is None or seen.report.silent_s(now=now) is not None:
        return 0
    return seen.report.in_flight.get(batch.id, 0)


def _counts(counts: Counts, flying: int) -> Figures:
    percent = figures.percent(counts.finished, counts.total)
    bar = drawing.bar(
        completed=counts.completed, failed=counts.failed, flying=flying, total=counts.total
    )
    return {
        "done": figures.count(counts.finished),
        "of": f"of {figures.count(counts.total)} · {percent}",
        "failed": f"{figures.count(counts.failed)} failed" if counts.failed else "",
        "fly": f"{figures.count(flying)} in flight" if flying else "",
        "dw": f"{bar.done}%",
        "fx": f"{bar.failed_from}%",
        "fw": f"{bar.failed}%",
        "yx": f"{bar.flying_from}%",
        "yw": f"{bar.flying}%",
        "now": f"{100 * counts.finished // max(1, counts.total)}",
        "say": f"{percent} finished, {figures.count(counts.failed)} failed",
    }


def _end(batch: Batch, pill: Pill | None, outlook: Outlook, *, now: float) -> _End:
    if pill is not None:
        return _End("none", text=_pill_text(batch, pill, now=now))
    end = outlook.ends.get(batch.id)
    if end is None:
        return _End("open", text="estimating the end")
    told = estimate.told(end, now=now)
    if told.at is None:
        return _End("near", text=f"in {told.away}")
    return _End("clock", text=f"in {told.away}", at=iso(told.at))


def _pill_text(batch: Batch, pill: Pill, *, now: float) -> str:
    if batch.status in _DOING:
        return "for the disk" if pill is HELD_UP else _DOING[batch.status]
    if batch.paused_at is not None and batch.faults:
        return _SET_ASIDE.get(batch.faults[0].code, "set aside: resume or cancel it")
    if batch.paused_at is not None:
        return f"for {spell(now - batch.paused_at)}"
    if pill is NO_MODEL and batch.model:
        return f"for {short_model(batch.model)}"
    if pill is QUEUED and batch.in_progress_at is not None:
        return f"for {spell(now - batch.in_progress_at)}"
    return ""


def ended(batch: Batch) -> Ended:
    """Describe one batch that ended."""
    counts, faults = batch.counts, tuple(batch.faults or ())
    lacks = batch.status is not BatchStatus.COMPLETED or counts.finished != counts.total
    of_total = f"{figures.count(counts.finished)} of {figures.count(counts.total)}"
    ended_at = batch.ended_at or batch.created_at
    return Ended(
        id=batch.id,
        name=batch.name,
        pill=PILLS[batch.status],
        requests=(of_total if lacks else figures.count(counts.total))
        if counts.total
        else figures.MISSING,
        failed=figures.count(counts.failed) if counts.finished else figures.MISSING,
        has_failed=counts.failed > 0,
        took=figures.duration(ended_at - batch.created_at),
        ended_at=iso(ended_at),
        output_url=f"/v1/files/{batch.output_file_id}/content" if batch.output_file_id else "",
        error_url=f"/v1/files/{batch.error_file_id}/content" if batch.error_file_id else "",
        faults=tuple(
            (f"line {figures.count(f.line)}" if f.line is not None else "file", f.message)
            for f in faults[:FAULTS_SHOWN]
        ),
        faults_total=len(faults),
    )


def _idle_text(seen: Overview, now: float) -> str:
    report = seen.report
    if report is None or report.silent_s(now=now) is not None:
        return "Batches that you send are kept and start as soon as a dispatcher runs."
    if not report.backends:
        return "Point any OpenAI client here, or:"
    if not report.alive:
        return "No backend answers at present; batches that you send wait for one."
    models = ", ".join(short_model(m) for m in report.models[:3])
    total, alive = len(report.backends), report.alive
    all_are = {1: "The backend is", 2: "Both backends are"}.get(total, f"All {total} backends are")
    who = all_are if alive == total else f"{alive} of {total} backends answer,"
    for_models = f" for {models}" if models else ""
    return f"{who} idle and ready{for_models}. Point any OpenAI client here, or:"


def short_id(batch_id: str) -> str:
    """Cut an id to what a person compares: `batch_7f3a91c0`."""
    return batch_id[:14]


def iso(at: float) -> str:
    """Write a moment as the page's script reads it, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
