"""How many API requests run at present, for which a stop of the gateway waits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aiohttp import web
from aiohttp.typedefs import Handler

from batchline.api.endpoints import SYNCHRONOUS


class Running:
    """The API requests that run at present, and whether the gateway is stopping."""

    def __init__(self) -> None:
        self.is_draining = False
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one request while the body runs."""
        self._count += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._idle.set()

    async def drain(self, *, grace_s: float) -> None:
        """Wait until none is left, at most `grace_s`; answers meanwhile close their connection.

        aiohttp's own shutdown stops reading at once, so that a running upload could never end.
        """
        self.is_draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._idle.wait()


RUNNING = web.AppKey("running", Running)


@web.middleware
async def count_running(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count API requests, for which a stop waits; the dashboard's endless streams end by themselves."""
    if not request.path.startswith("/v1/") and request.path != SYNCHRONOUS:
        return await handler(request)
    with request.app[RUNNING].one():
        return await handler(request)
