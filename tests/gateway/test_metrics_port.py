"""The port of metrics alone: what is there, whom it lets in, and that it lives as long as the gateway."""

from __future__ import annotations

import asyncio
import base64
import socket

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from ports import free_port
from waiting import until

from batchline.errors import Unavailable
from batchline.settings import Settings
from gateway.app import serve
from gateway.connections.bound import Limits
from gateway.keys import SETTINGS
from gateway.ports.metrics_port import metrics_app, metrics_port

KEY = "sk-of-this-server"
PASSWORD = base64.b64encode(f"prometheus:{KEY}".encode()).decode()


@pytest.fixture
async def port_of():
    """Serve the port of a gateway; return how to ask it for a status."""
    servers = []
    async with aiohttp.ClientSession() as http:

        async def begin(gateway):
            server = TestServer(metrics_app(gateway.app))
            servers.append(server)
            await server.start_server()

            async def status(path, **headers):
                async with http.get(server.make_url(path), headers=headers) as answer:
                    return answer.status

            return status

        yield begin
    for server in servers:
        await server.close()


WAYS = {
    "nothing": ({}, 401),
    "a wrong key": ({"Authorization": "Bearer wrong"}, 401),
    "the key": ({"Authorization": f"Bearer {KEY}"}, 200),
    "the key in its own header": ({"x-api-key": KEY}, 200),
    "the key as a password": ({"Authorization": f"Basic {PASSWORD}"}, 200),
}


@pytest.mark.parametrize(("headers", "expected"), WAYS.values(), ids=WAYS)
async def test_it_asks_the_key_as_the_gateway_does(starts, port_of, headers, expected):
    """One rule for both ports."""
    gateway = await starts(api_key=KEY)
    status = await port_of(gateway)

    assert await status("/metrics", **headers) == expected
    assert (await gateway.call("GET", "/metrics", headers=headers)).status == expected
    assert await status("/health", **headers) == 200


async def test_an_address_that_may_watch_needs_no_key(starts, port_of):
    """As at the gateway; elsewhere it needs one."""
    status = await port_of(await starts(api_key=KEY, watch_from="127.0.0.0/8"))

    assert await status("/metrics") == 200
    assert await status("/v1/files") == 401


@pytest.mark.parametrize(
    "path", ["/", "/v1/files", "/v1/batches", "/v1/models", "/ready", "/docs", "/openapi.json"]
)
async def test_nothing_else_of_the_gateway_is_there(gateway, port_of, path):
    """Whoever reaches the port may read figures and do nothing."""
    status = await port_of(gateway)

    assert await status(path) == 404
    assert await status("/metrics") == 200


async def test_unknown_hosts_are_refused(starts, port_of):
    """No page reads the figures by DNS rebinding; the host on which it listens is known."""
    status = await port_of(await starts(metrics_port=1, metrics_host="figures.example"))

    assert await status("/metrics", Host="evil.test") == 421
    assert await status("/metrics", Host="figures.example:9090") == 200


async def test_without_metrics_there_is_no_page_and_no_port(starts):
    """Nor does the API's description tell of it."""
    gateway = await starts(serve_metrics=False, metrics_port=free_port())

    async with metrics_port(gateway.app, Limits()):
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", gateway.app[SETTINGS].metrics_port)

    assert (await gateway.call("GET", "/metrics")).status == 404
    assert (await gateway.call("GET", "/health")).status == 200
    assert "/metrics" not in (await gateway.call("GET", "/openapi.json")).json["paths"]


async def test_it_lives_as_long_as_the_gateway(tmp_path):
    """It counts the connections of both ports, and afterwards its port is free."""
    stop = asyncio.Event()
    settings = Settings(data_dir=tmp_path, port=free_port(), metrics_port=free_port())
    figures = f"http://127.0.0.1:{settings.metrics_port}/metrics"
    async with asyncio.TaskGroup() as tasks, aiohttp.ClientSession() as http:
        tasks.create_task(serve(settings, stop))
        _, held = await until(
            lambda: asyncio.open_connection("127.0.0.1", settings.port), not_yet=ConnectionError
        )

        async def connections():
            async with http.get(figures) as answer:
                return "\nbatchline_connections 2.0\n" in await answer.text()

        await until(connections)
        held.close()
        stop.set()

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", settings.metrics_port))


async def test_a_taken_port_is_named_with_its_settings(tmp_path):
    """Nothing of the gateway stays open."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        settings = Settings(data_dir=tmp_path, port=free_port(), metrics_port=taken)

        with pytest.raises(
            Unavailable, match=f"Metrics cannot listen on 127.0.0.1:{taken}.*BATCHLINE_METRICS_PORT"
        ):
            await serve(settings, asyncio.Event())

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", settings.port))
