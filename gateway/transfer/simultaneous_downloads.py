"""Long answers: how many may run at a time, and the size of the pieces in which they are sent.

`connection.py` bounds how slowly a client may take them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from batchline.errors import Unavailable
from batchline.metrics import Metrics

PIECE_BYTES = 128 * 1024
"""Read and sent at a time; a client that reads nothing keeps so much in memory."""


class Downloads:
    """The running answers of one kind."""

    def __init__(self, kind: str, most: int, *, metrics: Metrics) -> None:
        self._most = most
        self._gauge = metrics.downloads.labels(kind)
        self._count = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place while the body runs. Raises Unavailable if all are taken."""
        if self._count >= self._most:
            raise Unavailable(
                f"All {self._most} places for downloads of this kind are taken "
                "(BATCHLINE_MAX_DOWNLOADS). Ask again in a moment."
            )
        self._count += 1
        self._gauge.inc()
        try:
            yield
        finally:
            self._count -= 1
            self._gauge.dec()


DOWNLOADS = web.AppKey("downloads", Downloads)
"""Files, results and errors."""
FOLLOWERS = web.AppKey("followers", Downloads)
"""Results that are followed while their batch runs."""
