"""One poller for all viewers: reads the overview, keeps the newest page, wakes the streams.

It reads every second while a stream is open, else every ten seconds, so that the curves cover the time
before. Of each viewer only the page that it was last sent is kept: a slow one skips pages, none are queued.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from batchline.blobs.base import Blobs
from batchline.errors import Unavailable
from batchline.estimate import STEP_S
from batchline.metrics import Metrics
from batchline.store import View
from batchline.store.records import Overview

from . import page
from .halt import WriteCheck
from .history import History

WATCHED_S = 1.0
FINISHED_SHOWN = 8
DELIVERIES_SHOWN = 8
_DISK_S = 10.0
_BEAT_S = 2.0  # a stream sends something at least as often; the page takes a silent one for lost

log = logging.getLogger("batchline.dashboard")


@dataclass(frozen=True, slots=True)
class Change:
    """What differs from a viewer's last page: figures by key (None: gone), fingerprints by part."""

    number: int
    figures: Mapping[str, str | None]
    shapes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The page at one moment, with the fingerprints of its parts."""

    number: int
    shown: page.Shown
    shapes: Mapping[str, str]

    def since(self, last: Snapshot | None) -> Change:
        """Return what changed after `last`; everything if there is none."""
        if last is None:
            return Change(self.number, self.shown.figures, self.shapes)
        before, after = last.shown.figures, self.shown.figures
        changed: dict[str, str | None] = {k: v for k, v in after.items() if before.get(k) != v}
        changed.update(dict.fromkeys(before.keys() - after.keys()))
        shapes = {n: s for n, s in self.shapes.items() if last.shapes.get(n) != s}
        return Change(self.number, changed, shapes)


class Live:
    """Owns the history and the newest snapshot. `run` is the poller; the other methods are for viewers."""

    def __init__(
        self,
        *,
        view: View,
        blobs: Blobs,
        metrics: Metrics,
        clock: Callable[[], float],
        min_free_bytes: int = 0,
        has_standing: bool = False,
    ) -> None:
        """Begin. `has_standing`: whether the operator set a receiver of events, or handlers."""
        self._min_free_bytes = min_free_bytes
        self._view = view
        self._has_standing = has_standing
        self._blobs = blobs
        self._metrics = metrics
        self._clock = clock
        self._history = History()
        self._lock = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._wake = asyncio.Event()
        self.viewers = 0
        """How many streams are open."""
        self._is_closing = False
        self._newest: Snapshot | None = None
        self._seen: Overview | None = None
        self._fault: tuple[str, float] | None = None
        self._write_check = WriteCheck(view)
        self._free_bytes: int | None = None
        self._free_read_at = float("-inf")

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            with suppress(Unavailable):  # nothing was ever read: `GET /` says why
                await self.refresh()
            self._wake.clear()
            pause_s = WATCHED_S if self.viewers else STEP_S
            with suppress(TimeoutError):  # no wait_for: it may swallow a cancel (Python 3.11)
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()

    async def refresh(self) -> Snapshot:
        """Read the overview now and publish the page. Raises Unavailable if none was ever read."""
        async with self._lock:
            return await self._look()

    async def newest(self) -> Snapshot:
        """Return a snapshot not older than a second; who asks while it is read waits for the same one.

        Raises Unavailable if nothing was ever read.
        """
        if (fresh := self._fresh()) is not None:
            return fresh
        async with self._lock:
            return self._fresh() or await self._look()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Count as a viewer: the poller looks every second meanwhile."""
        self.viewers += 1
        self._metrics.sse_clients.inc()
        self._wake.set()
        try:
            yield
        finally:
            self.viewers -= 1
            self._metrics.sse_clients.dec()

    async def changes(self) -> AsyncIterator[Change]:
        """Yield the whole page, then what changed: newest only, at least every two seconds."""
        last: Snapshot | None = None
        with suppress(Unavailable):  # the first page follows when it can be read
            await self.newest()
        while not self._is_closing:
            newest = self._newest
            if newest is not None and newest is not last:
                yield newest.since(last)
                last = newest
                continue
            async with self._changed:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_BEAT_S):
                        await self._changed.wait()
            if last is not None and self._newest is last and not self._is_closing:
                yield Change(last.number, {}, {})

    async def close(self) -> None:
        """End all streams, so that the server can stop."""
        self._is_closing = True
        self._write_check.close()
        async with self._changed:
            self._changed.notify_all()

    def _fresh(self) -> Snapshot | None:
        newest = self._newest
        is_fresh = newest is not None and 0 <= self._clock() - newest.shown.at < WATCHED_S
        return newest if is_fresh else None

    async def _look(self) -> Snapshot:
        now = self._clock()
        try:
            seen = await self._view.overview(
                finished_limit=FINISHED_SHOWN, deliveries_limit=DELIVERIES_SHOWN
            )
            seen = replace(seen, outbox=replace(seen.outbox, has_standing=self._has_standing))
            if seen.report is not None and seen.report.silent_s(now=now) is not None:
                seen = replace(seen, refusal=await self._write_check.refusal())
            await self._look_at_disk(now)
        except Unavailable as exc:
            self._note_fault(exc, now)
            if self._seen is None:
                raise
        else:
            self._seen, self._fault = seen, None
            self._history.add(seen, at=now)
        snapshot = self._publish(now)
        async with self._changed:
            self._changed.notify_all()
        return snapshot

    def _publish(self, now: float) -> Snapshot:
        if self._seen is None:
            raise AssertionError("a page needs an overview")
        shown = page.show(
            self._seen,
            self._history,
            now=now,
            free_bytes=self._free_bytes,
            min_free_bytes=self._min_free_bytes,
            store_fault=self._fault,
            held=self._newest.shown.ends if self._newest else None,
        )
        number = self._newest.number + 1 if self._newest else 1
        self._newest = Snapshot(number, shown, shown.shapes())
        return self._newest

    async def _look_at_disk(self, now: float) -> None:
        if now - self._free_read_at >= _DISK_S:
            self._free_bytes = await asyncio.to_thread(self._blobs.free_bytes)
            self._free_read_at = now

    def _note_fault(self, exc: Unavailable, now: float) -> None:
        if self._fault is None:
            log.warning("the dashboard cannot read the database: %s", exc)
        self._fault = (str(exc), self._fault[1] if self._fault else now)
