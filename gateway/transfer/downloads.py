"""Answers that may be long: how many are under way at a time, and in what pieces they are sent.

How slowly a client may take them is the connection's matter (`protocol.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from batchline.errors import Unavailable
from batchline.metrics import Metrics

PIECE_BYTES = 128 * 1024
"""Read and sent at a time: what a client that reads nothing keeps in memory."""


class Downloads:
    """The answers of one kind that are under way."""

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
"""Results followed while their batch runs."""
