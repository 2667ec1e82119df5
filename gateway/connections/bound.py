"""The gateway's open connections: how many there may be, and which of them make room for a new one.

    a new one ─► there is room ─► served
                  └─ full ─► idle ones are closed, the oldest first ─► served
                              └─ all are busy ─► answered 503 ─ too many of these, too ─► cut off
`Limits` also holds how long a single connection may take; `connection.py` enforces it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum, auto
from itertools import islice
from typing import Protocol

from batchline.metrics import Metrics
from batchline.process.descriptors import OTHERS, REMEDY
from batchline.settings import Settings

log = logging.getLogger("gateway")

_FILES_EACH = 3  # the connection, what it reads from (a file or a model server), and a long body
SURPLUS = 128
"""So many beyond the bound are answered 503; a liveness check is answered as usual."""
_LOOK_AGAIN_S = (
    0.05  # in a flood none is idle: a search for each new one would cost more than the flood
)
_TELL_AGAIN_S = 60.0
_FLOOD = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections clients may have, and how slow they may be."""

    most: int = 4096
    slowest_bytes_s: int = 1000
    patience_s: float = 30.0
    """How long a client may be slower than that."""
    head_s: float = 20.0
    """From the first byte of a request's head (of a first one: from the connection) to the last."""

    def wait_s(self, size_bytes: int) -> float:
        """Return how long so many bytes may wait for a client to take them."""
        return self.patience_s + size_bytes / self.slowest_bytes_s


def limits_of(settings: Settings, *, open_files: int) -> Limits:
    """Return the limits of connections and time, given how many files may be open."""
    fitting = max(1, (open_files - OTHERS) // _FILES_EACH)
    if fitting < settings.max_connections:
        log.warning(
            "the limit of open files (ulimit -n) is %d: it suffices for %d connections, which is now the "
            "bound instead of %d (BATCHLINE_MAX_CONNECTIONS). %s",
            open_files,
            fitting,
            settings.max_connections,
            REMEDY,
        )
    return Limits(
        most=min(fitting, settings.max_connections), slowest_bytes_s=settings.min_download_bytes_s
    )


class Cut(StrEnum):
    """Why we end or refuse a connection."""

    REFUSED = auto()
    """All are busy: answered 503."""
    IDLE = auto()
    """It was idle, and a new one needed its place."""
    LATE_HEAD = auto()
    SLOW_READER = auto()


class Entry(StrEnum):
    """How a new connection is served."""

    SERVED = auto()
    SURPLUS = auto()
    DROPPED = auto()


class Held(Protocol):
    """A connection, as far as it is counted here."""

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request, and nothing waits for its client."""
        ...

    def end(self) -> None:
        """Close it now."""
        ...


class Connections:
    """The open connections, oldest first."""

    def __init__(
        self,
        limits: Limits,
        metrics: Metrics,
        *,
        on_ebb: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with none. `on_ebb` is called when half of many have closed."""
        self.limits = limits
        self._on_ebb = on_ebb
        self._most_seen = 0
        self._metrics = metrics
        self._monotonic = monotonic
        self._open: dict[Held, None] = {}
        self._look_from = 0.0
        self._tell_from = 0.0
        for why in Cut:
            metrics.connections_cut.labels(why)

    def opened(self, one: Held) -> Entry:
        """Add a new connection; return how it is served."""
        entry = Entry.SERVED
        if len(self._open) >= self.limits.most and not self._make_room():
            self._tell()
            self.cut(Cut.REFUSED)
            is_answered = len(self._open) < self.limits.most + SURPLUS
            entry = Entry.SURPLUS if is_answered else Entry.DROPPED
        self._open[one] = None
        self._most_seen = max(self._most_seen, len(self._open))
        self._metrics.connections.inc()  # of all ports together
        return entry

    def closed(self, one: Held) -> None:
        """Remove a connection that has ended; idempotent."""
        if one in self._open:
            del self._open[one]
            self._metrics.connections.dec()
        if self._most_seen >= _FLOOD and len(self._open) <= self._most_seen // 2:
            self._most_seen = len(self._open)
            self._on_ebb()

    def cut(self, why: Cut) -> None:
        """Count a connection that we end or refuse."""
        self._metrics.connections_cut.labels(why).inc()

    def _make_room(self) -> bool:
        """Close several idle ones, so that the next new ones need no search; return whether there is room."""
        now = self._monotonic()
        if now < self._look_from:
            return False
        wanted = max(1, self.limits.most // 8)
        idle = list(islice((one for one in self._open if one.is_idle), wanted))
        if len(idle) < wanted:
            self._look_from = now + _LOOK_AGAIN_S
        for one in idle:
            one.end()
            self.closed(one)
            self.cut(Cut.IDLE)
        return len(self._open) < self.limits.most

    def _tell(self) -> None:
        now = self._monotonic()
        if now >= self._tell_from:
            self._tell_from = now + _TELL_AGAIN_S
            log.warning(
                "all %d connections are busy (BATCHLINE_MAX_CONNECTIONS): new ones are answered 503; "
                "told once a minute, batchline_connections_cut_total counts them",
                self.limits.most,
            )
