"""A router before two fleets: embeddings go to one, everything else to the other. As a company's own would be."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import aiohttp
from aiohttp import web

EMBEDDINGS = "/v1/embeddings"


@contextmanager
def routed(*, chats, embeddings):
    """Run it in a thread; yield its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    router = _Router(chats, embeddings)
    try:
        yield asyncio.run_coroutine_threadsafe(router.open(), loop).result(60)
    finally:
        asyncio.run_coroutine_threadsafe(router.close(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


class _Router:
    def __init__(self, chats, embeddings):
        self._chats = chats
        self._embeddings = embeddings

    async def open(self):
        self._session = aiohttp.ClientSession()
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return "http://127.0.0.1:{1}".format(*self._runner.addresses[0])

    async def close(self):
        await self._runner.cleanup()
        await self._session.close()

    async def _pass(self, request):
        to = self._embeddings if request.path == EMBEDDINGS else self._chats
        head = {"Content-Type": "application/json"}
        body = await request.read()
        async with self._session.post(to + request.path, data=body, headers=head) as answer:
            return web.Response(
                status=answer.status,
                body=await answer.read(),
                content_type="application/json",
            )
