"""Lines, whose server the dispatcher chose: real nginx takes them there and nowhere else."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from aiohttp import web
from waiting import turn

from batchline.fleet.nginx import BACKEND_HEADER, FAULT_BACKEND_FAILED, FAULT_NO_BACKEND, GROUP

ROOT = Path(__file__).parents[2]


def to(server):
    """Ask for this server."""
    return {BACKEND_HEADER: server.address}


async def reset(request, body):
    """Break the connection off after the request was read."""
    request.transport.abort()
    await turn()
    return web.Response()


@pytest.mark.parametrize(
    ("name", "count"), [("nginx.conf", 1), ("nginx-8gpu.conf", 8), ("nginx-cpu.conf", 2)]
)
def test_a_committed_file_has_a_group_for_each_server(name, count):
    """The header's value is the server's name in compose, as BATCHLINE_BACKEND_URLS has it."""
    found = re.findall(r'"(vllm-\d+:8000)" (\w+);', (ROOT / "nginx" / name).read_text())

    assert found == [(f"vllm-{n}:8000", f"batchline_backend_{n}") for n in range(count)]


async def test_a_request_goes_to_the_server_that_it_names(backends, start_proxy):
    """Each of them, whatever the others are doing; X-Upstream repeats the name."""
    proxy = await start_proxy(backends)

    for server in backends:
        for _ in range(3):
            response = await proxy.post(headers=to(server))
            assert (response.status, response.headers["X-Upstream"]) == (200, server.address)

    assert [len(server.bodies) for server in backends] == [3] * 4


async def test_the_header_is_not_passed_on(backends, start_proxy):
    """How our fleet is wired is no business of a model server."""
    proxy = await start_proxy(backends[:1])

    await proxy.post(headers=to(backends[0]))

    assert BACKEND_HEADER not in backends[0].headers[0]


async def test_an_unknown_name_is_balanced_like_a_request_without_one(backends, start_proxy):
    """An nginx that is reloaded later than the dispatcher still serves."""
    proxy = await start_proxy(backends[:1])

    response = await proxy.post(headers={BACKEND_HEADER: "10.9.9.9:1"})

    assert response.status == 200
    assert response.headers["X-Upstream"] == backends[0].address


async def test_connections_to_the_server_are_kept(backends, start_proxy):
    """One TCP connection for requests that follow one another."""
    proxy = await start_proxy(backends[:2])
    ports = set()

    async def note(request, body):
        ports.add(request.transport.get_extra_info("peername")[1])
        return web.json_response({})

    backends[1].script = note
    workers = 4  # each nginx worker keeps its own; our one client connection meets one worker
    for _ in range(20):
        await proxy.post(headers=to(backends[1]))

    assert len(ports) <= workers


async def test_a_request_that_breaks_its_server_reaches_no_other(backends, start_proxy):
    """A 502 at once: sending a poison line again is the dispatcher's decision."""
    proxy = await start_proxy(backends)
    for server in backends:
        server.script = reset

    response = await proxy.post(headers=to(backends[2]))

    assert (response.status, response.headers["X-Upstream"]) == (502, backends[2].address)
    assert (await response.json())["error"]["code"] == FAULT_BACKEND_FAILED
    assert sum(len(server.bodies) for server in backends) == 1


async def test_a_server_that_is_down_says_that_nothing_was_sent(backends, start_proxy):
    """`no_backend` and the group's name: the line burns no attempt; it is tried on every request."""
    proxy = await start_proxy(backends[:2])
    await backends[0].stop()

    for _ in range(2):
        response = await proxy.post(headers=to(backends[0]))
        assert (response.status, response.headers["X-Upstream"]) == (502, GROUP)
        assert (await response.json())["error"]["code"] == FAULT_NO_BACKEND
    assert backends[1].bodies == []

    await backends[0].start()
    assert (await proxy.post(headers=to(backends[0]))).status == 200


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_whatever_the_server_answers_passes_untouched(backends, start_proxy, status):
    """Status, body and Retry-After; sent once."""
    proxy = await start_proxy(backends[:2])

    async def refuse(request, body):
        return web.json_response({"error": "mine"}, status=status, headers={"Retry-After": "7"})

    for server in backends:
        server.script = refuse

    response = await proxy.post(headers=to(backends[0]))

    assert response.status == status
    assert await response.json() == {"error": "mine"}
    assert response.headers["Retry-After"] == "7"
    assert response.headers["X-Upstream"] == backends[0].address
    assert [len(server.bodies) for server in backends[:2]] == [1, 0]


async def test_a_large_line_passes_whole(backends, start_proxy):
    """20 MB, far above nginx's own defaults."""
    proxy = await start_proxy(backends[:2])

    response = await proxy.post(b"x" * (20 * 1024 * 1024), headers=to(backends[1]))

    assert (await response.json())["echo"] == 20 * 1024 * 1024


async def test_a_line_that_is_aborted_leaves_its_server(backends, start_proxy):
    """Otherwise cancelled work keeps burning the GPU."""
    proxy = await start_proxy(backends[:1])

    async def hang(request, body):
        await asyncio.Event().wait()
        return web.Response()

    backends[0].script = hang
    request = asyncio.create_task(proxy.post(headers=to(backends[0])))
    async with asyncio.timeout(60):
        await backends[0].arrived.wait()
        request.cancel()

        await backends[0].left.wait()
