"""The bounded health question."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from ports import free_port

from batchline.fleet.health import is_healthy
from batchline.serving.identity import Part


@pytest.mark.parametrize(("status", "expected"), [(200, True), (503, False), (404, False)])
async def test_only_200_counts(backends, status, expected):
    """VLLM answers 503 while its engine is gone."""

    async def say(request, body):
        return web.Response(status=status)

    backends[0].script = say

    assert await is_healthy("127.0.0.1", backends[0].port, "/health") is expected


async def test_a_closed_port_is_not_healthy():
    """Refused is an answer."""
    assert await is_healthy("127.0.0.1", free_port(), "/health") is False


async def test_a_silent_server_is_not_waited_for(backends):
    """The question ends by itself."""

    async def hang(request, body):
        await asyncio.Event().wait()
        return web.Response()

    backends[0].script = hang

    assert await is_healthy("127.0.0.1", backends[0].port, "/", timeout_s=0.2) is False


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"service": "batchline dispatcher", "pid": 7}, True),
        ({"service": "batchline dispatcher", "pid": 8}, False),
        ({"service": "batchline gateway", "pid": 7}, False),
        ({"status": "ok"}, False),
        ("ok", False),
    ],
)
async def test_only_the_process_that_is_meant_counts(backends, told, expected):
    """Whoever else has its port may answer 200 as well."""

    async def say(request, body):
        return web.json_response(told)

    backends[0].script = say
    port = backends[0].port

    found = await is_healthy("127.0.0.1", port, "/health", part=Part.DISPATCHER, pid=7)

    assert found is expected


@pytest.mark.parametrize("page", ["<html>" + " " * 200_000, "[" * 60_000, '{"pid": 7', ""])
async def test_a_page_in_place_of_the_answer_is_a_stranger(backends, page):
    """However long, deep or cut short it is."""

    async def say(request, body):
        return web.Response(text=page)

    backends[0].script = say
    port = backends[0].port

    assert not await is_healthy("127.0.0.1", port, "/health", part=Part.GATEWAY, pid=7)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x00\xff",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n{}",
        b"",
    ],
    ids=["ssh", "tls", "cut short", "endless head", "nothing"],
)
async def test_what_is_no_whole_answer_is_not_healthy(said):
    """Any program may have the port; what it says costs one look."""

    async def say(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = await is_healthy("127.0.0.1", port, "/health", part=Part.GATEWAY, pid=7)

    assert found is False
