"""Whether anything can go on at present, and if not, what stops all work.

`halt` is pure; `WriteCheck` tries whether anything can be written, once the dispatcher is silent.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum

from batchline.errors import BatchlineError
from batchline.store import View
from batchline.store.records import Overview

_CHECK_S = 0.5


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


class WriteCheck:
    """Whether the store can be written: if not, that may be why the dispatcher is silent."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._running: asyncio.Task[None] | None = None
        self._refusal: str | None = None

    async def refusal(self) -> str | None:
        """Return why it cannot; None if it can.

        Waits half a second at most (a locked database must not delay the page); then the last answer counts.
        """
        if self._running is None:
            self._running = asyncio.create_task(
                self._view.check_writable(), name="dashboard-write-check"
            )
        done, _ = await asyncio.wait({self._running}, timeout=_CHECK_S)
        if done:
            exc, self._running = self._running.exception(), None
            if exc is not None and not isinstance(exc, BatchlineError):
                raise exc
            self._refusal = str(exc) if exc else None
        return self._refusal

    def close(self) -> None:
        """Wait for it no longer."""
        if self._running is not None:
            self._running.cancel()
