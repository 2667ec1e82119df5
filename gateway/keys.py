"""The typed keys of what handlers find on the application and on a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from batchline.blobs.base import Blobs
from batchline.metrics import Metrics
from batchline.settings import Settings
from batchline.store.base import Intake, Results, Steering, Uploads


class GatewayStore(Intake, Uploads, Results, Steering, Protocol):
    """All methods of the store that the gateway uses."""


SETTINGS = web.AppKey("settings", Settings)
STORE = web.AppKey("store", GatewayStore)
BLOBS = web.AppKey("blobs", Blobs)
METRICS = web.AppKey("metrics", Metrics)
CLOCK: web.AppKey[Callable[[], float]] = web.AppKey("clock", Callable[[], float])  # type: ignore[arg-type]


def now(request: web.Request) -> int:
    """Return the present time in Unix seconds."""
    return int(request.app[CLOCK]())
