"""Disk space: whether more bytes may be stored without going below `min_free_bytes`."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from batchline import figures
from batchline.blobs.base import Blobs
from batchline.errors import DiskFull
from gateway.keys import BLOBS, SETTINGS


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """The free space of the blob store and how much of it must stay free."""

    blobs: Blobs
    min_free_bytes: int

    def need(self, wanted_bytes: int) -> None:
        """Check that `wanted_bytes` more may be stored. Raises DiskFull."""
        if not self.min_free_bytes:
            return
        free = self.blobs.free_bytes()
        if free - wanted_bytes >= self.min_free_bytes:
            return
        raise DiskFull(
            f"There is too little disk space for this: {figures.size(free)} are free, "
            f"{figures.size(wanted_bytes)} are asked for, and {figures.size(self.min_free_bytes)} "
            "must stay free (BATCHLINE_MIN_FREE_BYTES). Delete files that are no longer needed, or "
            "give the data directory more room."
        )


def disk_space_of(request: web.Request) -> DiskSpace:
    """Return the disk space of this gateway."""
    return DiskSpace(request.app[BLOBS], request.app[SETTINGS].min_free_bytes)
