"""Progress of bytes up or down, on standard error: a live bar on a terminal, else a line every 30 s."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from batchline import figures
from batchline.cli.render import clean, console, say

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LINE_EVERY_S = 30.0
_DRAW_EVERY_S = 0.1


class Transfer:
    """Counts bytes while they move. Use as a context manager; read `summary` afterwards."""

    def __init__(self, verb: str, *, total_bytes: int | None, quiet: bool = False) -> None:
        self._verb = verb
        self._total_bytes = total_bytes
        self._moved_bytes = 0
        self._skipped_bytes = 0
        self._quiet = quiet
        self._started_s = self._told_s = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not self._quiet:
            self._open_bar()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def skip(self, n_bytes: int) -> None:
        """Count bytes that were there already, without effect on the speed."""
        self._skipped_bytes = n_bytes
        self.advance(0)

    def advance(self, n_bytes: int) -> None:
        """Count bytes that were transferred."""
        self._moved_bytes += n_bytes
        now_s = time.monotonic()
        if self._bar is not None and self._task is not None:
            if now_s - self._told_s >= _DRAW_EVERY_S or not n_bytes:
                self._told_s = now_s
                self._bar.update(self._task, completed=self._skipped_bytes + self._moved_bytes)
                self._bar.refresh()
        elif now_s - self._told_s >= _LINE_EVERY_S and not self._quiet:
            self._told_s = now_s
            say(f"{self._verb}: {self._position()}")

    @property
    def summary(self) -> str:
        """Write how much was transferred and how fast: `1.9 GB at 412 MB/s`."""
        took_s = max(time.monotonic() - self._started_s, 1e-3)
        return f"{figures.size(self._moved_bytes)} at {figures.size(int(self._moved_bytes / took_s))}/s"

    def _position(self) -> str:
        here = self._skipped_bytes + self._moved_bytes
        if not self._total_bytes:
            return figures.size(here)
        total = figures.size(self._total_bytes)
        return f"{figures.percent(here, self._total_bytes)}, {figures.size(here)} of {total}"

    def _open_bar(self) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console(talk=True),
            transient=True,
            auto_refresh=False,
        )
        self._task = self._bar.add_task(clean(self._verb), total=self._total_bytes)
        self._bar.start()
