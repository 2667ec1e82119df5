"""The bounded health question."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from ports import free_port

from batchline.fleet.health import is_healthy


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
