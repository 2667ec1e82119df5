"""The typed keys of what handlers find on the application and on a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from batchline.blobs.base import Blobs
from batchline.clock import Clock
from batchline.metrics import Metrics
from batchline.settings import Settings
from batchline.store import Endpoints, Intake, Results, Uploads, View


class GatewayStore(Intake, Uploads, Results, View, Endpoints, Protocol):
    """All that the gateway asks of the store."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the gateway waits for others."""

    idle_s: float = 120.0
    """For the next request of a connection."""
    stall_s: float = 120.0
    """For a client that sends nothing of its body, or an upstream that takes nothing of it."""
    slowest_bytes_s: int = 500
    """A client slower than this over all, beyond `stall_s`, holds a place on purpose."""
    heartbeat_s: float = 15.0
    """With a sign of life to a follower: below the idle limits of usual proxies (60 s)."""
    wrong_key_s: float = 2.0
    """The longest that the answer to a wrong key takes."""


SETTINGS = web.AppKey("settings", Settings)
STORE = web.AppKey("store", GatewayStore)
BLOBS = web.AppKey("blobs", Blobs)
METRICS = web.AppKey("metrics", Metrics)
CLOCK = web.AppKey("clock", Clock)
PATIENCE = web.AppKey("patience", Patience)


def now(request: web.Request) -> int:
    """Return the present time in Unix seconds."""
    return int(request.app[CLOCK].now())
