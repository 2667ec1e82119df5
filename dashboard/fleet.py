"""What the page says about the dispatcher and the backends: their panel, and the notices.

Pure. A notice says what is wrong, since when, and what it means for the reader's work.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from batchline import figures
from batchline.failing import is_failing
from batchline.model import BackendStatus, Batch, FleetReport, Overview
from batchline.outliers import outliers

_OUT_AFTER_S = 10
"""A backend that is taken out and tried again within seconds is no news."""
_STANDINGS = {"closed": "ready", "half_open": "tried", "open": "out"}
NOTICES_SHOWN = 3
_LOW_DISK_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class BackendRow:
    """One line of the backends panel; its figures are under `key`."""

    key: str
    name: str
    is_alive: bool
    has_cache: bool
    has_queue: bool
    reason: str
    models: str
    standing: str
    """`ready`, `tried` (back, with a few lines) or `out`, whether it is alive or not."""
    has_lines: bool


@dataclass(frozen=True, slots=True)
class Backends:
    """The backends panel. `is_old`: the dispatcher is silent, so these are past figures."""

    rows: Sequence[BackendRow]
    is_known: bool
    is_old: bool


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that needs attention. `tone` is bad or warn; `icon` differs in shape."""

    tone: str
    icon: str
    head: str
    text: str


@dataclass(frozen=True, slots=True)
class Notices:
    """The worst three, without their running times (those are figures), and how many more."""

    shown: Sequence[tuple[str, str, str]]
    more: int


class Halt(StrEnum):
    """Why nothing can move at present, whatever the batch."""

    ABSENT = "for a dispatcher"
    REFUSED = "nothing can be written"
    SILENT = "the dispatcher is silent"
    PAUSED = "paused"
    NO_BACKEND = "no backend answers"


def halt(seen: Overview, *, now: float) -> Halt | None:
    """Return what stops all work, or None. Without named backends their health is not judged."""
    report = seen.report
    if seen.refusal is not None:
        return Halt.REFUSED
    if report is None:
        return Halt.ABSENT
    if report.silent_s(now=now) is not None:
        return Halt.SILENT
    if report.paused is not None:
        return Halt.PAUSED
    return Halt.NO_BACKEND if report.backends and not report.alive else None


def backends(report: FleetReport | None, *, now: float, out: dict[str, str]) -> Backends:
    """Describe the backends and write their figures to `out`."""
    if report is None:
        out["srv.head"] = ""
        return Backends((), is_known=False, is_old=False)
    total = len(report.backends)
    out["srv.head"] = f"{report.alive} of {total} answering" if total else ""
    rows = tuple(_row(f"srv.{i}", b, now=now, out=out) for i, b in enumerate(report.backends))
    is_old = report.silent_s(now=now) is not None
    return Backends(rows, is_known=True, is_old=is_old)


def _row(key: str, backend: BackendStatus, *, now: float, out: dict[str, str]) -> BackendRow:
    has_cache = backend.alive and backend.kv_cache_ratio is not None
    out[f"{key}.run"] = figures.count(backend.running)
    out[f"{key}.wait"] = figures.count(backend.waiting)
    out[f"{key}.tok"] = figures.rate(backend.output_tokens_per_s)
    out[f"{key}.fly"] = plural(backend.in_flight, "line")
    out[f"{key}.down"] = spell(now - backend.since)
    out[f"{key}.out"] = spell(now - backend.circuit_since)
    if has_cache:
        ratio = min(1.0, max(0.0, backend.kv_cache_ratio or 0.0))
        out[f"{key}.kv"] = f"{ratio * 100:.0f} %"
        out[f"{key}.kvw"] = f"{ratio * 100:.1f}%"
        out[f"{key}.kvsay"] = f"KV cache {ratio * 100:.0f} percent used"
    return BackendRow(
        key=key,
        name=backend.name,
        is_alive=backend.alive,
        has_cache=has_cache,
        has_queue=backend.running is not None or backend.waiting is not None,
        reason=backend.trouble or "",
        models=", ".join(short_model(m) for m in backend.models),
        standing=_STANDINGS.get(backend.circuit, "ready"),
        has_lines=backend.in_flight > 0,
    )


def notices(
    seen: Overview,
    *,
    now: float,
    free_bytes: int | None,
    store_fault: tuple[str, float] | None,
    stalled: Sequence[tuple[Batch, float]],
    unserved: Sequence[str],
) -> list[Notice]:
    """Return everything that needs attention, worst first."""
    found: list[Notice] = []
    if store_fault is not None:
        reason, since = store_fault
        head = f"The database has not answered for {spell(now - since)}."
        found.append(Notice("bad", "warning", head, f"The figures below are old. {reason}"))
    found += _dispatcher_notices(seen, now=now)
    if seen.report is not None and seen.report.silent_s(now=now) is None:
        found += _backend_notices(seen.report, now=now)
        found += _circuit_notices(seen.report, now=now)
        found += _suspect_notices(seen.report)
        found += _waiting_notices(seen, unserved)
        found += _failing_notices(seen.open_batches, seen.report)
    found += _set_aside_notices(seen.open_batches)
    for batch, still_s in stalled:
        flying = seen.report.in_flight.get(batch.id, 0) if seen.report else 0
        head = f"{batch.name} has finished nothing for {spell(still_s)}."
        found.append(Notice("bad", "warning", head, f"{plural(flying, 'request')} in flight."))
    for model in unserved:
        head = f"No backend serves {short_model(model)}."
        found.append(Notice("warn", "warning", head, "Its batches wait until one does."))
    if free_bytes is not None and free_bytes < _LOW_DISK_BYTES:
        found.append(_disk_notice(free_bytes))
    return sorted(found, key=lambda n: n.tone != "bad")


def _disk_notice(free_bytes: int) -> Notice:
    if not free_bytes:
        text = (
            "Uploads are refused, and results wait until there is room; delete what nobody needs."
        )
        return Notice("bad", "warning", "The disk is full.", text)
    head = f"The disk is nearly full: {figures.size(free_bytes)} left."
    text = "Before it is full, uploads are refused and dispatch pauses; delete what nobody needs."
    return Notice("bad", "warning", head, text)


def _circuit_notices(report: FleetReport, *, now: float) -> list[Notice]:
    """Name backends that answer and get no lines, or not all, and those that serve other models than most."""
    found = []
    for backend in report.backends:
        out_s = now - backend.circuit_since
        if backend.alive and backend.circuit == "open" and out_s >= _OUT_AFTER_S:
            head = f"{backend.name} has got no requests for {spell(out_s)}."
            text = f"It {(backend.circuit_reason or 'broke off').rstrip('.')}. Look at its log."
            found.append(Notice("bad", "warning", head, text))
        elif backend.alive and backend.circuit == "closed" and backend.circuit_reason:
            head = f"{backend.name} gets no requests of some kinds."
            text = f"It {backend.circuit_reason.rstrip('.')}. Those requests go to others, or wait."
            found.append(Notice("warn", "warning", head, text))
    alive = {backend.name: backend.models for backend in report.backends if backend.alive}
    for name in outliers(alive):
        models = ", ".join(short_model(model) for model in alive[name])
        head = f"{name} serves other models than most: {models}."
        found.append(Notice("warn", "warning", head, "It gets only requests for these."))
    return found


def _suspect_notices(report: FleetReport) -> list[Notice]:
    if not report.suspects:
        return []
    one = report.suspects == 1
    head = f"{plural(report.suspects, 'request')} {'is' if one else 'are'} tried apart from the others."
    where = f" {report.reserved_backend} is reserved for that." if report.reserved_backend else ""
    text = f"Servers died while working on {'it' if one else 'them'}.{where}"
    return [Notice("warn", "warning", head, text)]


def _waiting_notices(seen: Overview, unserved: Collection[str]) -> list[Notice]:
    waiting = seen.report.waiting if seen.report else {}
    return [
        Notice("warn", "clock", f"{batch.name} waits.", waiting[batch.id])
        for batch in seen.open_batches
        if batch.id in waiting and batch.model not in unserved
    ]


def _failing_notices(batches: Sequence[Batch], report: FleetReport) -> list[Notice]:
    return [
        Notice(
            "warn", "warning", f"{batch.name}: most lines fail.", report.failing.get(batch.id, "")
        )
        for batch in batches
        if is_failing(batch)
    ]


def _set_aside_notices(batches: Sequence[Batch]) -> list[Notice]:
    return [
        Notice("warn", "paused", f"{batch.name} paused by itself.", batch.faults[0].message)
        for batch in batches
        if batch.paused_at is not None and batch.faults
    ]


def _dispatcher_notices(seen: Overview, *, now: float) -> list[Notice]:
    report = seen.report
    if seen.refusal is not None:
        text = f"{seen.refusal} Nothing is lost: what is unsaved is held, and sent again at worst."
        return [Notice("bad", "warning", "Nothing can be stored.", text)]
    if report is None:
        text = "Batches are accepted and wait until a dispatcher runs on this data directory."
        return [Notice("warn", "clock", "No dispatcher has reported yet.", text)]
    silent_s = report.silent_s(now=now)
    if silent_s is not None:
        head = f"The dispatcher has not reported for {spell(silent_s)}."
        return [Notice("bad", "warning", head, "Nothing is lost; work resumes when it is back.")]
    if report.paused is not None:
        reason = report.paused.rstrip(".")
        head, text = f"Dispatch is paused: {reason}.", "Nothing is lost; it goes on by itself."
        return [Notice("warn", "paused", head, text)]
    return []


def _backend_notices(report: FleetReport, *, now: float) -> list[Notice]:
    down = [b for b in report.backends if not b.alive]
    if not down:
        return []
    total, since = len(report.backends), min(b.since for b in down)
    rest = total - len(down)
    if not rest:
        head = (
            f"{down[0].name} has not answered for {spell(now - since)}."
            if total == 1
            else f"None of the {total} backends answers, for {spell(now - max(b.since for b in down))}."
        )
        return [
            Notice("bad", "warning", head, "Requests wait and are sent again; nothing is lost.")
        ]
    carry_on = "The other one carries on." if rest == 1 else f"The other {rest} carry on."
    if len(down) == 1:
        head = f"{down[0].name} has not answered for {spell(now - since)}."
        text = f"Its requests go to the others; nothing is lost. {carry_on}"
    else:
        head = f"{len(down)} of {total} backends have not answered, the first for {spell(now - since)}."
        text = f"Their requests go to the others; nothing is lost. {carry_on}"
    return [Notice("bad", "warning", head, text)]


def spell(seconds: float) -> str:
    """Write a length of time as a sentence wants it: `40 seconds`, `4 minutes`, `2 h 50 m`."""
    whole = max(0, int(seconds))
    if whole < 60:  # noqa: PLR2004
        return plural(whole, "second")
    if whole < 3600:  # noqa: PLR2004
        return plural(whole // 60, "minute")
    return figures.duration(whole)


def plural(n: int, noun: str) -> str:
    """Write `1 batch`, `3 batches`, `1,286 requests`."""
    if n == 1:
        return f"1 {noun}"
    return f"{figures.count(n)} {noun}{'es' if noun.endswith('ch') else 's'}"


def short_model(model: str) -> str:
    """Drop the organisation: `Qwen/Qwen3-32B` reads as `Qwen3-32B`."""
    return model.rstrip("/").rsplit("/", 1)[-1] or model
