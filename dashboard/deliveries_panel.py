"""The panel of deliveries: which webhooks and handlers got what last, and what waits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from batchline import figures
from batchline.figures import plural, spell
from batchline.webhooks.addresses import host_of
from batchline.webhooks.records import Delivery, DeliveryState, OutboxOverview, delivery_id

from .batch_rows import Pill, iso, short_id
from .keys import Figures, merged, under

_FRESH = Pill("Pending", "queued", "")
_RUNNING = Pill("Running", "running", "run")
_FAILED_BEFORE = Pill("Retrying", "clock", "warn")
_ENDED = {
    DeliveryState.DELIVERED: Pill("Delivered", "completed", "ok"),
    DeliveryState.GIVEN_UP: Pill("Given up", "failed", "bad"),
}


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """One delivery. `next_at` is empty where it is not tried again, or is due.

    Its figures are under `dlv` and its number: how far its handler came, where `has_progress` says so.
    """

    number: int
    id: str
    event: str
    batch_id: str
    short_batch_id: str
    receiver: str
    """Host and port of a URL, or the name of a handler."""
    is_handler: bool
    pill: Pill
    attempts: str
    attempts_noun: str
    next_at: str
    is_due: bool
    why: str
    """Why the last attempt failed, where it did and no later one succeeded."""
    has_progress: bool
    is_replayable: bool


@dataclass(frozen=True, slots=True)
class Deliveries:
    """The panel; it is not shown where nobody asked to be told anything."""

    is_used: bool
    rows: Sequence[DeliveryRow]
    figures: Figures = field(repr=False)


def deliveries(outbox: OutboxOverview, *, now: float) -> Deliveries:
    """Describe the last deliveries, the last made first."""
    return Deliveries(
        is_used(outbox),
        tuple(_row(delivery, now=now) for delivery in outbox.newest),
        under(
            "dlv",
            merged([{"head": _head(outbox, now=now)}, *(_progress(d) for d in outbox.newest)]),
        ),
    )


def is_used(outbox: OutboxOverview) -> bool:
    """Whether anybody asked to be told anything, as far as store and settings show."""
    return bool(outbox.endpoints or outbox.newest or outbox.has_callback or outbox.has_standing)


def is_handled(delivery: Delivery, *, now: float) -> bool:
    """Whether a handler is at work; a request to a webhook is over before anybody reads of it."""
    return delivery.handler is not None and delivery.is_under_way(now)


def _head(outbox: OutboxOverview, *, now: float) -> str:
    found = outbox.figures
    said = [f"{figures.count(found.pending)} pending" if found.pending else "None pending"]
    if found.oldest_since is not None:
        said.append(f"the oldest for {spell(now - found.oldest_since)}")
    if found.given_up:
        said.append(f"{figures.count(found.given_up)} given up")
    return ", ".join(said)


def _progress(delivery: Delivery) -> Figures:
    """Say how many results its handler has handled for good."""
    if not _has_progress(delivery):
        return {}
    done, total = delivery.lines_done, delivery.lines_total
    of_all = (
        plural(done, "result")
        if total is None
        else f"{figures.count(done)} of {plural(total, 'result')}"
    )
    return {f"{delivery.number}.lines": of_all}


def _has_progress(delivery: Delivery) -> bool:
    is_done = delivery.state is DeliveryState.DELIVERED
    return delivery.handler is not None and not is_done


def _row(delivery: Delivery, *, now: float) -> DeliveryRow:
    is_pending = delivery.state is DeliveryState.PENDING and not is_handled(delivery, now=now)
    is_due = is_pending and delivery.due_at <= now
    is_taken = delivery.state is DeliveryState.DELIVERED
    batch_id = delivery.event.batch_id
    return DeliveryRow(
        number=delivery.number,
        id=delivery_id(delivery.number),
        event=delivery.event.type.value,
        batch_id=batch_id,
        short_batch_id=short_id(batch_id),
        receiver=host_of(delivery.url),
        is_handler=delivery.handler is not None,
        pill=_pill(delivery, now=now),
        attempts=figures.count(delivery.attempts),
        attempts_noun="attempt" if delivery.attempts == 1 else "attempts",
        next_at=iso(delivery.due_at) if is_pending and not is_due else "",
        is_due=is_due,
        why="" if is_taken else delivery.last_error or "",
        has_progress=_has_progress(delivery),
        is_replayable=delivery.is_replayable,
    )


def _pill(delivery: Delivery, *, now: float) -> Pill:
    if is_handled(delivery, now=now):
        return _RUNNING
    if delivery.state is DeliveryState.PENDING:
        return _FAILED_BEFORE if delivery.attempts else _FRESH
    return _ENDED[delivery.state]
