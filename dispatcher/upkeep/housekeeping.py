"""The duties of housekeeping, put together: each looks after one thing, a bounded step now and then.

    deadlines    batches past their window                    (deadlines)
    sweep        expired files, ended batches, rows, garbage  (sweep)
    orphans      bytes that no row names                      (orphans)
    disk         the watermark                                (disk_watch)
    compaction   the database file                            (vacuum)

`app` runs and supervises one loop a duty; none of them stands in the way of dispatch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from batchline.blobs import Blobs
from batchline.clock import Clock
from batchline.metrics import Metrics
from batchline.settings import Settings
from batchline.store import Upkeep, Work
from dispatcher.sending.gate import Gate

from .deadlines import LAPSE_EVERY_S, Deadlines
from .disk_watch import LOOK_EVERY_S, DiskWatch
from .orphans import Orphans
from .sweep import CLEAN_EVERY_S, Sweep
from .vacuum import Compaction


class WorkAndUpkeep(Work, Upkeep, Protocol):
    """What the dispatcher needs of the store."""


@dataclass(frozen=True, slots=True)
class Rests:
    """How long the duties that a test may wait for rest between two steps."""

    deadlines_s: float = LAPSE_EVERY_S
    sweep_s: float = CLEAN_EVERY_S
    disk_s: float = LOOK_EVERY_S


RESTS = Rests()


class Duty(Protocol):
    """Something to be looked after now and then."""

    async def step(self) -> float:
        """Do a bounded piece; return the seconds to rest before the next."""


def duties(
    settings: Settings,
    store: WorkAndUpkeep,
    blobs: Blobs,
    *,
    gate: Gate,
    metrics: Metrics,
    is_idle: Callable[[], bool],
    clock: Clock,
    rests: Rests = RESTS,
) -> Mapping[str, Duty]:
    """Make all duties, by name."""
    ttl_s = settings.batch_ttl_s
    mark = settings.min_free_bytes
    return {
        "deadlines": Deadlines(store, clock=clock, every_s=rests.deadlines_s),
        "sweep": Sweep(
            store,
            blobs,
            metrics=metrics,
            batch_ttl_s=ttl_s,
            clock=clock,
            every_s=rests.sweep_s,
        ),
        "orphans": Orphans(store, blobs, metrics=metrics, clock=clock),
        "disk": DiskWatch(
            blobs, gate=gate, metrics=metrics, min_free_bytes=mark, every_s=rests.disk_s
        ),
        "compaction": Compaction(store, metrics=metrics, is_idle=is_idle),
    }


async def look_after(duty: Duty, clock: Clock) -> None:
    """Do one step after another; never returns."""
    rest_s = 0.0
    while True:
        await clock.sleep(rest_s)
        rest_s = await duty.step()
