"""Real nginx in front of small scripted model servers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from ports import free_port
from real_nginx import running_nginx

Script = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


async def answer(request: web.Request, body: bytes) -> web.StreamResponse:
    """Answer as a healthy model server would."""
    return web.json_response({"echo": len(body)})


class Backend:
    """A model server that does what its script says and remembers what it was sent."""

    def __init__(self) -> None:
        self.script: Script = answer
        self.bodies: list[bytes] = []
        self.headers: list = []
        self.arrived = asyncio.Event()
        self.left = asyncio.Event()
        self.port = free_port()
        self._runner: web.AppRunner | None = None

    @property
    def address(self) -> str:
        """Where it listens, as host:port."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; the same port again after a stop."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        """Refuse connections from now on."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.read()
            self.bodies.append(body)
            self.headers.append(request.headers.copy())
            self.arrived.set()
            return await self.script(request, body)
        except asyncio.CancelledError:
            self.left.set()
            raise


class Proxy:
    """A running nginx and a client of it."""

    def __init__(self, url: str, client: aiohttp.ClientSession) -> None:
        self.url = url
        self.client = client

    async def post(self, body: bytes = b"{}", **kwargs) -> aiohttp.ClientResponse:
        """POST to the chat endpoint and read the answer whole."""
        response = await self.client.post(f"{self.url}/v1/chat/completions", data=body, **kwargs)
        await response.read()
        return response


@pytest.fixture
async def backends():
    """Four scripted model servers that are up."""
    servers = [Backend() for _ in range(4)]
    for server in servers:
        await server.start()
    yield servers
    for server in servers:
        await server.stop()


@pytest.fixture
async def start_proxy(tmp_path: Path):
    """Start real nginx before the given backends; returns a Proxy."""
    async with AsyncExitStack() as stack:

        async def start(servers: list[Backend], **options) -> Proxy:
            addresses = [server.address for server in servers]
            url = await stack.enter_async_context(running_nginx(addresses, tmp_path, **options))
            return Proxy(url, await stack.enter_async_context(aiohttp.ClientSession()))

        yield start
