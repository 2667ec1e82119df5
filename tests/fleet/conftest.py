"""Real nginx in front of small scripted model servers."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from batchline.fleet.nginx import find_nginx, nginx_argv, render_nginx

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
        self.port = find_free_port()
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


def find_free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def free_port():
    """Return a function that finds free ports."""
    return find_free_port


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
    stack = []

    async def start(servers: list[Backend]) -> Proxy:
        port = find_free_port()
        config = tmp_path / "nginx.conf"
        config.write_text(
            render_nginx(
                [server.address for server in servers],
                listen=f"127.0.0.1:{port}",
                run_dir=str(tmp_path),
                error_log=str(tmp_path / "error.log"),
                foreground=True,
                user="root" if os.geteuid() == 0 else None,
            )
        )
        process = await asyncio.create_subprocess_exec(
            *nginx_argv(find_nginx(), config, error_log=tmp_path / "error.log")
        )
        client = aiohttp.ClientSession()
        stack.append((process, client))
        await _until_healthy(client, f"http://127.0.0.1:{port}/nginx-health", process)
        return Proxy(f"http://127.0.0.1:{port}", client)

    yield start
    for process, client in stack:
        await client.close()
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _until_healthy(client, url: str, process) -> None:
    async with asyncio.timeout(20):
        while True:
            assert process.returncode is None, "nginx refused its configuration"
            try:
                async with client.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)
