"""The receiver of webhooks, outside the system under test: logs all that it is told, and takes it or does not.

One server hears for the registered endpoint and for every callback; the path tells for whom.
"""

from __future__ import annotations

import asyncio
import time

from aiohttp import web
from waiting import pass_time

from .faults import TAKES, Reception
from .history import Told
from .listening import Listening

_THINKS_S = 0.02  # so that a death at an arrival finds its attempt under way
_SLOW_S = 1.0


class Receiver(Listening):
    """What it is told, and how it answers at present."""

    def __init__(self, told: list[Told]) -> None:
        self.told = told
        self.reception = Reception.TAKEN
        self.moved = asyncio.Event()
        """Set at each arrival; who waits for the next one clears it."""

    async def __aenter__(self):
        app = web.Application()
        app.router.add_route("*", "/{asked_by:.*}", self._answer)
        await self.open(app)
        return self

    async def __aexit__(self, *exc):
        await self.close()

    def url_for(self, asked_by):
        """Return where it hears what was asked for by an endpoint or a batch."""
        return f"http://{self.address}/{asked_by}"

    def batches(self):
        """Count the batches of which it heard."""
        return len({told.headers.get("webhook-id") for told in self.told})

    async def _answer(self, request):
        headers = {
            name.lower(): value
            for name, value in request.headers.items()
            if name.lower().startswith("webhook-")
        }
        body = await request.text()
        dealt = self.reception
        asked_by = request.match_info["asked_by"]
        told = Told(asked_by, time.monotonic(), dealt, headers, body)
        self.told.append(told)
        self.moved.set()
        await pass_time(_SLOW_S if dealt is Reception.SLOW else _THINKS_S)
        match dealt:
            case Reception.CUT:
                request.transport.abort()
            case Reception.ERROR:
                return web.Response(status=500)
            case Reception.REDIRECT:
                return web.Response(status=302, headers={"Location": self.url_for("elsewhere")})
        told.is_taken = dealt in TAKES
        return web.Response(status=204)
