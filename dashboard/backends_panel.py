"""The panel of the backends: what each does, and whether it gets lines. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from batchline import figures
from batchline.figures import plural, short_model, spell
from batchline.model import BackendStatus, FleetReport

from .keys import Figures, merged, under

_STANDINGS = {"closed": "ready", "half_open": "tried", "open": "out"}


@dataclass(frozen=True, slots=True)
class BackendRow:
    """One line of the backends panel; its figures are under `srv` and its place."""

    name: str
    is_alive: bool
    has_cache: bool
    has_queue: bool
    reason: str
    models: str
    standing: str
    """`ready`, `tried` (it gets a few lines) or `out` (none), by its circuit alone."""
    has_lines: bool


@dataclass(frozen=True, slots=True)
class Backends:
    """The backends panel. `is_old`: the dispatcher is silent, so these are past figures."""

    rows: Sequence[BackendRow]
    is_known: bool
    is_old: bool
    figures: Figures = field(repr=False)


def backends(report: FleetReport | None, *, now: float) -> Backends:
    """Describe the backends, in the order of the report."""
    total = len(report.backends) if report else 0
    head = {"srv.head": f"{report.alive} of {total} answering" if report and total else ""}
    if report is None:
        return Backends((), is_known=False, is_old=False, figures=head)
    loads = [under(f"srv.{i}", _load(b, now=now)) for i, b in enumerate(report.backends)]
    return Backends(
        tuple(_row(backend) for backend in report.backends),
        is_known=True,
        is_old=report.silent_s(now=now) is not None,
        figures=merged([head, *loads]),
    )


def _load(backend: BackendStatus, *, now: float) -> Figures:
    load = {
        "run": figures.count(backend.running),
        "wait": figures.count(backend.waiting),
        "tok": figures.rate(backend.output_tokens_per_s),
        "fly": plural(backend.in_flight, "line"),
        "down": spell(now - backend.since),
        "out": spell(now - backend.circuit_since),
    }
    return load | _cache(backend.kv_cache_ratio) if _has_cache(backend) else load


def _cache(ratio: float | None) -> dict[str, str]:
    percent = 100 * min(1.0, max(0.0, ratio or 0.0))
    return {
        "kv": f"{percent:.0f} %",
        "kvw": f"{percent:.1f}%",
        "kvsay": f"KV cache {percent:.0f} percent used",
    }


def _has_cache(backend: BackendStatus) -> bool:
    return backend.alive and backend.kv_cache_ratio is not None


def _row(backend: BackendStatus) -> BackendRow:
    return BackendRow(
        name=backend.name,
        is_alive=backend.alive,
        has_cache=_has_cache(backend),
        has_queue=backend.running is not None or backend.waiting is not None,
        reason=backend.trouble or "",
        models=", ".join(short_model(m) for m in backend.models),
        standing=_STANDINGS.get(backend.circuit, "ready"),
        has_lines=backend.in_flight > 0,
    )
