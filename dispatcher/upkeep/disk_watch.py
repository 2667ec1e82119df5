"""The disk's watermark: with less than `min_free_bytes` left nothing new begins, until there is room.

The gate closes with a reason that people see, lines in flight are still stored (that is what the kept
space is for), validation and publishing wait. Uploads are refused by the gateway at the same mark.
"""

from __future__ import annotations

import asyncio

from batchline import figures
from batchline.blobs import Blobs
from batchline.metrics import Metrics
from dispatcher.sending.gate import Cause, Gate

LOOK_EVERY_S = 1.0
_ROOM_AGAIN = 1.05  # what was just freed must not be used up at once


class DiskWatch:
    """Looks at the space left and moves the gate."""

    def __init__(
        self,
        blobs: Blobs,
        *,
        gate: Gate,
        metrics: Metrics,
        min_free_bytes: int,
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._blobs = blobs
        self._gate = gate
        self._metrics = metrics
        self._min_free_bytes = min_free_bytes
        self._every_s = every_s
        metrics.disk_min_free_bytes.set(min_free_bytes)

    async def step(self) -> float:
        """Look once."""
        free = await asyncio.to_thread(self._blobs.free_bytes)
        self._metrics.disk_free_bytes.set(free)
        mark = self._min_free_bytes
        if free < mark:
            self._gate.close(
                Cause.DISK,
                f"Only {figures.size(free)} of disk space are left and {figures.size(mark)} are kept "
                "free: delete files or make room (BATCHLINE_MIN_FREE_BYTES).",
            )
        elif free >= mark * _ROOM_AGAIN:
            self._gate.open(Cause.DISK)
        return self._every_s
