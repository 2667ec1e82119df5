"""What the page shows of the overview and the history: its parts, each with its figures.

Pure: the same input gives the same page. Where a part's fields changed its HTML is replaced; where a figure
changed, one text or SVG attribute is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from batchline import estimate, figures
from batchline.estimate import SPAN_S
from batchline.figures import plural, short_model, spell
from batchline.model import Batch
from batchline.states import PUBLISHABLE, BatchStatus
from batchline.store.records import Overview

from . import backends_panel, batch_rows, deliveries_panel, drawing, notices
from .halt import Halt, halt
from .history import History
from .keys import Figures, curve, merged, under

_VITAL_BUCKETS = 90
_CURVES = (
    ("tok", "tokens", _VITAL_BUCKETS),
    ("req", "finished", _VITAL_BUCKETS),
    ("fly", "in_flight", _VITAL_BUCKETS),
    ("bad", "failed_share", _VITAL_BUCKETS // 3),  # rare events need wider buckets
)
"""The small curves: key, series of the history, buckets."""
_CHART_BUCKETS = 180
_SPANS_S = (300, 900, SPAN_S)
_FULL = "the backends are kept full"


@dataclass(frozen=True, slots=True)
class Sentence:
    """The first line: whether it holds a time, and a range of times."""

    has_time: bool
    has_range: bool
    figures: Figures = field(repr=False)


@dataclass(frozen=True, slots=True)
class Finished:
    """The table of batches that ended, newest first. Nothing in it changes without a new row."""

    rows: Sequence[batch_rows.Ended]
    figures: Figures = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Chart:
    """The large curve: tokens where they are known, else requests."""

    title: str
    figures: Figures = field(repr=False)


@dataclass(frozen=True, slots=True)
class Plain:
    """A part whose structure never changes."""

    name: str
    figures: Figures = field(repr=False)


Part = (
    Sentence
    | notices.Notices
    | batch_rows.Running
    | Plain
    | Chart
    | backends_panel.Backends
    | Finished
    | deliveries_panel.Deliveries
)


@dataclass(frozen=True, slots=True)
class Shown:
    """The page at one moment. `ends` go into the next `show` as `held`, so that they do not jitter."""

    at: float
    parts: Mapping[str, Part]
    figures: Figures
    ends: Mapping[str, float]

    def shapes(self) -> dict[str, str]:
        """Return a short fingerprint of each part's structure."""
        return {
            name: blake2b(repr(part).encode(), digest_size=6).hexdigest()
            for name, part in self.parts.items()
        }


def show(
    seen: Overview,
    history: History,
    *,
    now: float,
    free_bytes: int | None = None,
    min_free_bytes: int = 0,
    store_fault: tuple[str, float] | None = None,
    held: Mapping[str, float] | None = None,
) -> Shown:
    """Work out the whole page. `store_fault`: why and since when the overview could not be read.

    `min_free_bytes`: what is kept free of the disk.
    """
    span_s = span(history)
    outlook = batch_rows.look_ahead(seen, history, now=now, held=held or {})
    found = notices.notices(
        seen,
        now=now,
        free_bytes=free_bytes,
        min_free_bytes=min_free_bytes,
        store_fault=store_fault,
        stalled=outlook.stalled,
        unserved=outlook.unserved,
    )
    frame = {
        "now": batch_rows.iso(now),
        "title": _title(seen, has_trouble=bool(found)),
        "icon": "/favicon.svg?attention" if found else "/favicon.svg",
    }
    parts: dict[str, Part] = {
        "sentence": _sentence(seen, history, outlook, now=now),
        "notices": notices.worst(found),
        "running": batch_rows.running(seen, history, outlook, now=now, span_s=span_s),
        "vitals": _vitals(seen, history, outlook, now=now, span_s=span_s),
        "chart": _chart(history, now=now, span_s=span_s),
        "backends": backends_panel.backends(seen.report, now=now),
        "finished": Finished(tuple(batch_rows.ended(b) for b in seen.finished)),
        "storage": _storage(seen, free_bytes),
        "deliveries": deliveries_panel.deliveries(seen.outbox, now=now),
    }
    every = merged([frame, *(part.figures for part in parts.values())])
    return Shown(now, parts, every, outlook.ends)


def span(history: History) -> int:
    """Choose how far back the curves reach: the least of 5 minutes, 15 minutes, an hour that fits."""
    return next((s for s in _SPANS_S if history.seen_s <= s), SPAN_S)


def _say(
    head: str, *, sub: str, at: str = "", tail: str = "", between: tuple[str, str] | None = None
) -> Sentence:
    low, high = between or ("", "")
    said = {"head": head, "at": at, "tail": tail, "sub": sub, "from": low, "to": high}
    return Sentence(has_time=bool(at), has_range=between is not None, figures=under("s", said))


def _sentence(
    seen: Overview, history: History, outlook: batch_rows.Outlook, *, now: float
) -> Sentence:
    if not seen.open_batches:
        return _idle_sentence(seen)
    left = f"{plural(_lines_left(seen), 'request')} left"
    n_running = sum(outlook.pills[b.id] is None for b in seen.open_batches)
    trouble = _trouble(seen, outlook, now=now) or ("" if n_running else _not_running(seen))
    if trouble:
        return _say(trouble, sub=left)
    others = _others(seen, outlook)
    head, tail = f"{plural(n_running, 'batch')} running, ", f"; {others}" if others else ""
    if len(outlook.ends) < n_running:
        sub = f"{left} · the end is known after the first results"
        return _say(f"{head}estimating the end", tail=tail, sub=sub)
    end = max(outlook.ends.values())
    done = "all done" if n_running > 1 and not others else "done"
    told = estimate.told(end, now=now)
    if told.at is None:
        return _say(f"{head}{done} in {told.away}", tail=tail, sub=left)
    between = _range(history, end - now, now=now)
    sub = f"{left} · {told.away} at the present rate"
    return _say(
        f"{head}{done} about ",
        at=batch_rows.iso(told.at),
        tail=tail,
        sub=f"{sub}, likely between " if between else sub,
        between=between,
    )


def _lines_left(seen: Overview) -> int:
    return sum(b.counts.total - b.counts.finished for b in seen.open_batches)


def _others(seen: Overview, outlook: batch_rows.Outlook) -> str:
    """Count the open batches that do not run, in words: `2 more wait, 1 paused, 1 finalizing`."""
    others = [b for b in seen.open_batches if outlook.pills[b.id] is not None]
    known = [_word(b) for b in others if b.status in PUBLISHABLE or _is_paused(b)]
    n_waiting = len(others) - len(known)
    words = [f"{n_waiting} more {'waits' if n_waiting == 1 else 'wait'}"] if n_waiting else []
    words += [f"{known.count(word)} {word}" for word in dict.fromkeys(known)]
    return ", ".join(words)


def _range(history: History, left_s: float, *, now: float) -> tuple[str, str] | None:
    spread = history.spread()
    if spread is None or left_s < 2 * estimate.NEAR_S or spread[0] <= 0:
        return None
    slow, fast = spread
    low = estimate.rounded(now + left_s / fast, now=now)
    high = estimate.rounded(now + left_s / slow, now=now)
    return (batch_rows.iso(low), batch_rows.iso(high)) if low < high else None


def _idle_sentence(seen: Overview) -> Sentence:
    last = max((b.ended_at or 0 for b in seen.finished), default=0)
    if not last:
        sub = "Send a batch with any OpenAI client, and watch it here."
        return _say("Ready. Nothing has been run yet.", sub=sub)
    sub = "Nothing is running or waiting."
    return _say("Idle. Last batch finished ", at=batch_rows.iso(last), tail=".", sub=sub)


def _trouble(seen: Overview, outlook: batch_rows.Outlook, *, now: float) -> str:
    """Say what stops all work, or nothing."""
    waiting = f"{plural(len(seen.open_batches), 'batch')} {_verb(seen, 'waits', 'wait')}"
    match halt(seen, now=now):
        case Halt.ABSENT:
            return f"{waiting} for a dispatcher"
        case Halt.PAUSED:
            return f"Paused; {waiting}"
        case Halt() as reason:
            return f"{waiting}: {reason}"
        case None:
            pass
    if outlook.unserved and all(
        outlook.pills[b.id] is batch_rows.NO_MODEL for b in seen.open_batches
    ):
        return f"{waiting}: no backend serves {short_model(outlook.unserved[0])}"
    if outlook.stalled:
        batch, still_s = outlook.stalled[0]
        return f"{batch.name} has finished nothing for {spell(still_s)}"
    return ""


def _not_running(seen: Overview) -> str:
    words = [_word(b) for b in seen.open_batches]
    if len(set(words)) == 1 and words[0] != "running":
        return f"{plural(len(words), 'batch')} {words[0]}"
    n_paused = words.count("paused")
    n_waiting = len(words) - n_paused
    waiting = f"{plural(n_waiting, 'batch')} {'waits' if n_waiting == 1 else 'wait'} to start"
    return f"{waiting}, {n_paused} paused" if n_paused else waiting


def _word(batch: Batch) -> str:
    """Say what the batch itself is doing, whatever the fleet does."""
    pill = batch_rows.PAUSED if _is_paused(batch) else batch_rows.PILLS[batch.status]
    return pill.word.lower()


def _is_paused(batch: Batch) -> bool:
    return batch.status is BatchStatus.IN_PROGRESS and batch.paused_at is not None


def _verb(seen: Overview, one: str, many: str) -> str:
    return one if len(seen.open_batches) == 1 else many


def _vitals(
    seen: Overview, history: History, outlook: batch_rows.Outlook, *, now: float, span_s: float
) -> Plain:
    finished, failed, tokens = history.last_hour()
    within = _within(history.seen_s)
    report = seen.report
    is_heard = report is not None and report.silent_s(now=now) is None
    flying = sum(report.in_flight.values()) if report and is_heard else None
    # The mean of the last minute stays above zero for a minute after the last line.
    is_idle = not seen.open_batches
    vitals = {
        "tok": figures.rate(0.0 if is_idle else history.token_rate()),
        "tok.sub": f"{_big(tokens)} {within}",
        "req": figures.rate(0.0 if is_idle else history.total_rate()),
        "req.sub": f"{figures.count(finished)} {within}",
        "fly": figures.count(flying),
        "fly.of": f"of {figures.count(report.limit)} slots" if report and report.limit else "",
        "fly.sub": _flying_sense(seen, outlook, flying),
        "bad": figures.share(failed, finished).removesuffix(" %") if finished else "0",
        "bad.sub": f"{figures.count(failed)} {within}",
    }
    curves = [
        curve(f"v.{name}", history.series(series, span_s=span_s, buckets=buckets))
        for name, series, buckets in _CURVES
    ]
    return Plain("vitals", merged([under("v", vitals), *curves]))


def _within(seen_s: float) -> str:
    if seen_s < 60:  # noqa: PLR2004 - too short to be named
        return "so far"
    return "in the last hour" if seen_s >= SPAN_S - 60 else f"in the last {spell(seen_s)}"


def _big(tokens: int) -> str:
    return figures.count(tokens) if tokens < 100_000 else figures.rate(tokens)  # noqa: PLR2004


def _flying_sense(seen: Overview, outlook: batch_rows.Outlook, flying: int | None) -> str:
    if flying is None:
        return "the dispatcher is silent" if seen.report else "no dispatcher yet"
    if not flying:
        return "nothing to do" if not seen.open_batches else "nothing sent at present"
    if outlook.is_full:
        return _FULL
    return "the last ones are running" if _lines_left(seen) <= flying else "room for more"


def _chart(history: History, *, now: float, span_s: float) -> Chart:
    has_tokens = history.last_hour()[2] > 0 or bool(history.token_rate())
    name, title = (
        ("tokens", "Output tokens per second")
        if has_tokens
        else ("finished", "Requests finished per second")
    )
    values = history.series(name, span_s=span_s, buckets=_CHART_BUCKETS)
    top = drawing.axis_top(values)
    span_text = "last hour" if span_s >= SPAN_S else f"last {spell(span_s)}"
    present = figures.rate(next(iter(values[-1:]), None))
    axes = {f"y{i}": _tick(top * i / 3) for i in range(4)}
    axes |= {f"x{i}": batch_rows.iso((now - span_s * (4 - i) / 4) // 60 * 60) for i in range(5)}
    said = {"span": span_text, "say": f"{title}, {span_text}; now {present}"}
    return Chart(title, merged([under("c", axes | said), curve("c", values, top=top)]))


def _tick(value: float) -> str:
    for size, unit in ((1_000_000, " M"), (1000, " k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _storage(seen: Overview, free_bytes: int | None) -> Plain:
    stored = {
        "free": "–" if free_bytes is None else f"{figures.size(free_bytes)} free",
        "files": f"{plural(seen.files, 'file')}, {figures.size(seen.files_bytes)}",
        "db": figures.size(seen.database_bytes),
    }
    return Plain("storage", under("d", stored))


def _title(seen: Overview, *, has_trouble: bool) -> str:
    mark = "! " if has_trouble else ""
    running = [b for b in seen.open_batches if b.counts.total]
    if not seen.open_batches:
        return f"{mark}Idle – batchline"
    if not running:
        return f"{mark}{plural(len(seen.open_batches), 'batch')} – batchline"
    total = sum(b.counts.total for b in running)
    percent = 100 * sum(b.counts.finished for b in running) // total
    what = running[0].name if len(running) == 1 else plural(len(running), "batch")
    return f"{mark}{percent}% {what} – batchline"
