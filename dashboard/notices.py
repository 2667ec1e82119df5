"""The notices on the page: everything that needs attention, worst first.

Pure. A notice says what is wrong, since when, and what it means for the reader's work.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from batchline import figures
from batchline.failing import is_failing
from batchline.figures import plural, short_model, spell
from batchline.model import Batch, FleetReport
from batchline.odd_model_lists import odd_lists
from batchline.store.records import Overview
from batchline.webhooks.addresses import host_of
from batchline.webhooks.records import Delivery, OutboxOverview

from .deliveries_panel import is_handled, is_used
from .keys import Figures, merged, under

_OUT_AFTER_S = 10
"""A backend that gets no lines for a shorter time has no notice."""
_LATE_AFTER_S = 600
"""A receiver may be away for so long without a notice."""
_NO_DELIVERER_AFTER_S = 30
"""A deliverer makes the deliveries of an event within a second or so."""
NOTICES_SHOWN = 3
_LOW_DISK_BYTES = 2_000_000_000
"""A notice comes below this, or below twice of what is kept free where that is more."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that needs attention. `tone` is bad or warn; `icon` differs in shape."""

    tone: str
    icon: str
    head: str
    text: str


@dataclass(frozen=True, slots=True)
class Notices:
    """The worst three as tone and icon (their words are figures), and how many more."""

    shown: Sequence[tuple[str, str]]
    more: int
    figures: Figures = field(repr=False)


def worst(found: Sequence[Notice]) -> Notices:
    """Describe the first three of the notices, which are ordered, and count the others."""
    shown = found[:NOTICES_SHOWN]
    return Notices(
        tuple((n.tone, n.icon) for n in shown),
        len(found) - len(shown),
        merged(under(f"n.{i}", {"head": n.head, "text": n.text}) for i, n in enumerate(shown)),
    )


def notices(
    seen: Overview,
    *,
    now: float,
    free_bytes: int | None,
    min_free_bytes: int,
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
    found += _outbox_notices(seen.outbox, now=now)
    if free_bytes is not None and free_bytes < max(_LOW_DISK_BYTES, 2 * min_free_bytes):
        found.append(_disk_notice(free_bytes, min_free_bytes))
    return sorted(found, key=lambda n: n.tone != "bad")


def _disk_notice(free_bytes: int, min_free_bytes: int) -> Notice:
    remedy = "Delete what nobody needs."
    if not free_bytes:
        text = f"Uploads are refused, and results wait until there is room. {remedy}"
        return Notice("bad", "warning", "The disk is full.", text)
    kept = f"{figures.size(min_free_bytes)} are kept free (BATCHLINE_MIN_FREE_BYTES)"
    if free_bytes < min_free_bytes:
        text = f"Uploads are refused and dispatch pauses: {kept}. {remedy}"
    elif min_free_bytes:
        text = f"Soon uploads are refused and dispatch pauses: {kept}. {remedy}"
    else:
        text = f"Nothing is kept free (BATCHLINE_MIN_FREE_BYTES is 0). {remedy}"
    head = f"The disk is nearly full: {figures.size(free_bytes)} left."
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
    for name in odd_lists(alive):
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
        lost = "Nothing is lost: unsaved results are kept; at worst their lines are sent again."
        text = f"{seen.refusal} {lost}"
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


def _outbox_notices(outbox: OutboxOverview, *, now: float) -> list[Notice]:
    """Say that nobody delivers, or else which receivers have taken nothing for long."""
    since = outbox.unaddressed_since
    if since is not None and now - since > _NO_DELIVERER_AFTER_S and is_used(outbox):
        head = f"No deliverer seems to run: an event has waited for {spell(now - since)}."
        start = "Start one on this data directory: batchline deliver."
        text = f"Nothing is lost. {start} If it ends by itself, batchline doctor says why."
        return [Notice("bad", "warning", head, text)]
    return [
        _late_notice(delivery, now=now)
        for delivery in outbox.waiting
        if now - delivery.since > _LATE_AFTER_S and not is_handled(delivery, now=now)
    ]


def _late_notice(delivery: Delivery, *, now: float) -> Notice:
    waited = spell(now - delivery.since)
    why = f"{(delivery.last_error or 'No attempt has ended yet').rstrip('.')}."
    if delivery.handler is None:
        head = f"An event for {host_of(delivery.url)} has waited for {waited}."
        return Notice("warn", "clock", head, f"{why} It is tried again for 72 hours in all.")
    head = f"A batch has waited for the handler {delivery.handler} for {waited}."
    look = "The deliverer's log has what it printed; batchline handlers says whether it is set up."
    return Notice("warn", "clock", head, f"{why} It is tried again for 72 hours in all. {look}")


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
    others = "The other one still answers." if rest == 1 else f"The other {rest} still answer."
    if len(down) == 1:
        head = f"{down[0].name} has not answered for {spell(now - since)}."
        text = f"Its requests go to the others; nothing is lost. {others}"
    else:
        head = f"{len(down)} of {total} backends have not answered, the first for {spell(now - since)}."
        text = f"Their requests go to the others; nothing is lost. {others}"
    return [Notice("bad", "warning", head, text)]
