"""The nginx configuration, tried on real nginx."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest
from aiohttp import web
from waiting import turn, until

from batchline.errors import Invalid
from batchline.fleet.nginx import (
    FAULT_BACKEND_FAILED,
    FAULT_NO_BACKEND,
    GROUP,
    READ_TIMEOUT_S,
    find_nginx,
    nginx_argv,
    render_nginx,
    write_nginx,
)
from batchline.settings import Settings

ROOT = Path(__file__).parents[2]


async def reset(request: web.Request, body: bytes) -> web.StreamResponse:
    """Break the connection off after the request was read."""
    request.transport.abort()
    await turn()
    return web.Response()


def upstreams(response) -> list[str]:
    return response.headers["X-Upstream"].split(", ")


@pytest.mark.parametrize(
    ("name", "count"), [("nginx.conf", 1), ("nginx-8gpu.conf", 8), ("nginx-cpu.conf", 2)]
)
def test_a_committed_file_names_each_server_once(name, count):
    """One server line per vLLM container, numbered from 0."""
    found = re.findall(r"server (vllm-\d+:8000) max_fails=1 ", (ROOT / "nginx" / name).read_text())

    assert found == [f"vllm-{n}:8000" for n in range(count)]


def test_nginx_accepts_the_configuration(tmp_path):
    """`nginx -t` finds no fault and no warning."""
    config = tmp_path / "nginx.conf"
    config.write_text(
        render_nginx(["127.0.0.1:1"], listen="127.0.0.1:65000", run_dir=str(tmp_path))
    )

    done = subprocess.run(
        [find_nginx(), "-t", "-c", str(config)], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr.replace("could not open error log file", "")


@pytest.mark.parametrize("name", ["dätä ö", 'a "b" \\c; {d}', "caf\udce9"])
def test_nginx_accepts_a_folder_of_any_name(tmp_path, name):
    """Letters of any alphabet and encoding, and what means something to nginx."""
    folder = tmp_path / name
    folder.mkdir()
    log = folder / "error.log"
    write_nginx(
        folder / "nginx.conf",
        render_nginx(
            ["127.0.0.1:1"], listen="127.0.0.1:65000", run_dir=str(folder), error_log=str(log)
        ),
    )
    command = nginx_argv(find_nginx(), folder / "nginx.conf", error_log=log)

    done = subprocess.run([*command, "-t"], capture_output=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert log.exists()


def test_nginx_waits_longer_than_the_dispatcher():
    """The dispatcher gives up first, so nginx never resends a line that is merely slow."""
    assert Settings(_env_file=None).request_timeout_s < READ_TIMEOUT_S


def test_no_servers_is_refused():
    """An nginx without servers would be a configuration error later."""
    with pytest.raises(Invalid, match="at least one"):
        render_nginx([], listen="8000")


async def test_every_answer_names_its_server(backends, start_proxy):
    """X-Upstream is the address of the server that answered."""
    proxy = await start_proxy(backends)

    response = await proxy.client.post(f"{proxy.url}/v1/chat/completions", data=b"{}")

    assert response.status == 200
    assert upstreams(response)[0] in {server.address for server in backends}


async def test_requests_are_spread_over_the_servers(backends, start_proxy):
    """Of requests in flight together, each server has its share."""
    proxy = await start_proxy(backends)
    gate = asyncio.Event()

    async def wait(request, body):
        await gate.wait()
        return web.json_response({})

    for server in backends:
        server.script = wait
    requests = [asyncio.create_task(proxy.post()) for _ in range(8)]
    async with asyncio.timeout(60):
        for server in backends:
            await server.arrived.wait()
    gate.set()
    await asyncio.gather(*requests)

    assert sum(len(server.bodies) for server in backends) == 8


async def test_a_server_lost_mid_request_costs_no_request(backends, start_proxy):
    """A POST whose server breaks off is sent once more, to another server."""
    proxy = await start_proxy(backends[:2])
    backends[0].script = reset

    responses = [await proxy.post() for _ in range(8)]

    assert [response.status for response in responses] == [200] * 8
    assert backends[0].address in {a for r in responses for a in upstreams(r)}


async def test_a_refused_connection_costs_no_request(backends, start_proxy):
    """Requests for a server that is down go to one that is up."""
    await backends[0].stop()
    proxy = await start_proxy(backends[:2])

    responses = [await proxy.post() for _ in range(8)]

    assert [response.status for response in responses] == [200] * 8


async def test_a_poison_request_reaches_at_most_two_servers(backends, start_proxy):
    """One that crashes its server is resent once, also over connections kept alive."""
    proxy = await start_proxy(backends)
    gate = asyncio.Barrier(len(backends))

    async def meet(request, body):
        await gate.wait()
        return web.json_response({})

    for server in backends:  # each server gets a kept-alive connection
        server.script = meet
    async with asyncio.timeout(60):
        await asyncio.gather(*(proxy.post() for _ in backends))
    for server in backends:
        server.bodies.clear()
        server.script = reset

    response = await proxy.post(b"poison")

    assert response.status == 502
    assert sum(len(server.bodies) for server in backends) == 2
    assert len(upstreams(response)) == 2
    assert (await response.json())["error"]["code"] == FAULT_BACKEND_FAILED


@pytest.mark.parametrize("count", [1, 2])
async def test_no_server_up_is_said_in_openai_json(backends, start_proxy, count):
    """With every server down: a 502 with code no_backend, and the group's name in X-Upstream."""
    for server in backends:
        await server.stop()
    proxy = await start_proxy(backends[:count])

    responses = [await proxy.post(), await proxy.post()]  # refused at first, then benched

    for response in responses:
        assert response.status == 502
        assert response.content_type == "application/json"
        error = (await response.json())["error"]
        assert (error["type"], error["code"]) == ("server_error", FAULT_NO_BACKEND)
        assert upstreams(response) == [GROUP]


async def test_a_lost_request_with_nobody_left_names_the_server_that_had_it(backends, start_proxy):
    """It was sent once: that counts as one try, unlike a request that nobody took."""
    await backends[1].stop()
    proxy = await start_proxy(backends[:2])
    backends[0].script = reset

    response = await proxy.client.post(f"{proxy.url}/v1/chat/completions", data=b"{}")

    assert response.status == 502
    assert (await response.json())["error"]["code"] == FAULT_BACKEND_FAILED
    assert backends[0].address in upstreams(response)
    assert len(backends[0].bodies) == 1
    assert GROUP not in upstreams(response)


async def test_a_server_that_comes_back_is_used_again(backends, start_proxy):
    """A benched server gets requests again seconds after it is up."""
    await backends[0].stop()
    proxy = await start_proxy(backends[:1] + backends[1:2])
    await proxy.post()
    await backends[0].start()

    async def gets_one():
        assert (await proxy.post()).status == 200
        return backends[0].bodies

    await until(gets_one, every_s=0.1)


@pytest.mark.parametrize("status", [400, 404, 429, 500, 501])
async def test_an_answer_of_the_server_is_not_sent_again(backends, start_proxy, status):
    """What a server answers is the dispatcher's to judge, body untouched."""
    proxy = await start_proxy(backends)

    async def refuse(request, body):
        return web.json_response({"error": "mine"}, status=status, headers={"Retry-After": "7"})

    for server in backends:
        server.script = refuse

    response = await proxy.client.post(f"{proxy.url}/v1/chat/completions", data=b"{}")

    assert response.status == status
    assert await response.json() == {"error": "mine"}
    assert response.headers["Retry-After"] == "7"
    assert sum(len(server.bodies) for server in backends) == 1


async def test_a_503_is_sent_once_more_and_then_passed_on(backends, start_proxy):
    """A server that is draining or overloaded: one more try, then its own words."""
    proxy = await start_proxy(backends)

    async def busy(request, body):
        return web.json_response({"error": "busy"}, status=503)

    for server in backends:
        server.script = busy

    response = await proxy.client.post(f"{proxy.url}/v1/chat/completions", data=b"{}")

    assert response.status == 503
    assert await response.json() == {"error": "busy"}
    assert sum(len(server.bodies) for server in backends) == 2


async def test_a_large_body_passes_whole(backends, start_proxy):
    """20 MB, far above nginx's own defaults; and whole again after a resend."""
    proxy = await start_proxy(backends[:2])
    backends[0].script = reset
    body = b"x" * (20 * 1024 * 1024)

    responses = [await proxy.post(body) for _ in range(2)]

    assert [(await response.json())["echo"] for response in responses] == [len(body)] * 2


async def test_a_client_that_leaves_is_noticed_by_the_server(backends, start_proxy):
    """Otherwise cancelled work keeps burning the GPU."""
    proxy = await start_proxy(backends[:1])

    async def hang(request, body):
        await asyncio.Event().wait()
        return web.Response()

    backends[0].script = hang
    request = asyncio.create_task(proxy.post())
    async with asyncio.timeout(60):
        await backends[0].arrived.wait()
        request.cancel()

        await backends[0].left.wait()


async def test_a_stream_passes_chunk_by_chunk(backends, start_proxy):
    """A token is with the client before the next one is made."""
    proxy = await start_proxy(backends[:1])
    seen = asyncio.Event()

    async def stream(request, body):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: one\n\n")
        await seen.wait()
        await response.write(b"data: two\n\n")
        return response

    backends[0].script = stream
    async with asyncio.timeout(60):
        response = await proxy.client.post(f"{proxy.url}/v1/chat/completions", data=b"{}")
        first = await response.content.readany()
        seen.set()
        rest = await response.read()

    assert (first, rest) == (b"data: one\n\n", b"data: two\n\n")


async def test_the_request_id_reaches_the_server(backends, start_proxy):
    """So that one id names the request in every log."""
    proxy = await start_proxy(backends[:1])

    await proxy.post(headers={"X-Request-Id": "line-7"})

    assert backends[0].headers[0]["X-Request-Id"] == "line-7"
