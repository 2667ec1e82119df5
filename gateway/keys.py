"""What handlers find on the application and on a request: typed keys, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from batchline.blobs.base import Blobs
from batchline.metrics import Metrics
from batchline.settings import Settings
from batchline.store import Intake, Results, Uploads, View


class GatewayStore(Intake, Uploads, Results, View, Protocol):
    """All that the gateway asks of the store."""


SETTINGS = web.AppKey("settings", Settings)
STORE = web.AppKey("store", GatewayStore)
BLOBS = web.AppKey("blobs", Blobs)
METRICS = web.AppKey("metrics", Metrics)
CLOCK: web.AppKey[Callable[[], float]] = web.AppKey("clock", Callable[[], float])  # type: ignore[arg-type]


def now(request: web.Request) -> int:
    """Return the present time in Unix seconds."""
    return int(request.app[CLOCK]())
