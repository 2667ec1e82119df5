"""The database file: gives unused pages back to the disk, keeps the write-ahead log short.

Pages that batches left are used again by the next ones, so there is no hurry: a little at a time while
nothing is in flight, and under load only when more than half of the file is unused.
"""

from __future__ import annotations

from collections.abc import Callable

from batchline.metrics import Metrics
from batchline.store import Upkeep
from batchline.store.records import Backlog

_EVERY_S = 5.0
_MORE_S = 0.1
_PAGES_AT_ONCE = 500  # 2 MB: a few ms of write lock
_KEPT_PAGES = 1000  # 4 MB stay for the next batch
_LOG_BYTES = 16 << 20


class Compaction:
    """One small step after another. `is_idle`: nothing is in flight."""

    def __init__(
        self,
        store: Upkeep,
        *,
        metrics: Metrics,
        is_idle: Callable[[], bool],
        pages_at_once: int = _PAGES_AT_ONCE,
        kept_pages: int = _KEPT_PAGES,
        log_bytes: int = _LOG_BYTES,
    ) -> None:
        self._store = store
        self._pages_at_once = pages_at_once
        self._kept_pages = kept_pages
        self._log_bytes = log_bytes
        self._metrics = metrics
        self._is_idle = is_idle
        self._has_vacuumed = False

    async def step(self) -> float:
        """Vacuum some pages if there are many; afterwards empty the log."""
        backlog = await self._store.backlog()
        self._show(backlog)
        if self._wants_vacuum(backlog):
            vacuumed = await self._store.vacuum(pages=self._pages_at_once)
            self._metrics.vacuumed_pages.inc(vacuumed)
            self._has_vacuumed = True
            return _MORE_S if vacuumed else _EVERY_S
        if self._has_vacuumed or backlog.log_bytes > self._log_bytes:
            # The file itself shrinks only when the log is moved into it.
            self._has_vacuumed = not await self._store.checkpoint()
        return _EVERY_S

    def _wants_vacuum(self, backlog: Backlog) -> bool:
        if backlog.free_pages <= self._kept_pages:
            return False
        return self._is_idle() or backlog.free_pages > backlog.pages / 2

    def _show(self, backlog: Backlog) -> None:
        self._metrics.garbage_pending.set(backlog.garbage)
        self._metrics.unnamed_blobs.set(backlog.unnamed)
        self._metrics.database_bytes.set(backlog.database_bytes)
        self._metrics.database_free_bytes.set(
            backlog.database_bytes * backlog.free_pages // max(1, backlog.pages)
        )
        self._metrics.wal_bytes.set(backlog.log_bytes)
