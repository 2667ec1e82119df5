"""Whether anything can go on at present, and if not, what stops all work. Pure."""

from __future__ import annotations

from enum import StrEnum

from batchline.model import Overview


class Halt(StrEnum):
    """Why no batch can go on at present."""

    ABSENT = "for a dispatcher"
    REFUSED = "nothing can be written"
    SILENT = "the dispatcher is silent"
    PAUSED = "paused"
    NO_BACKEND = "no backend answers"


def halt(seen: Overview, *, now: float) -> Halt | None:
    """Return what stops all work, or None. Where no backends are named, none is missed."""
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
