"""A running dispatcher, real nginx, two scripted backends: which line went where."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import SimpleNamespace

import pytest
from aiohttp import web
from real_nginx import running_nginx
from scripted import RESET, Scripted, completion

from batchline.fleet import nginx
from dispatcher import upstream as dispatcher_upstream


@pytest.fixture
async def fleet(bench, tmp_path):
    """Two backends behind nginx, and the settings that name them."""
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(Scripted()) for _ in range(2)]
        folder = tmp_path / "nginx"
        folder.mkdir()
        names = [backend.url.removeprefix("http://") for backend in backends]
        bench.upstream = SimpleNamespace(
            url=await stack.enter_async_context(running_nginx(names, folder))
        )
        yield SimpleNamespace(
            backends=backends, settings={"backend_urls": tuple(b.url for b in backends)}
        )


def test_nginx_and_the_dispatcher_agree_on_the_header():
    """Leaf and core each name it."""
    assert dispatcher_upstream.BACKEND_HEADER == nginx.BACKEND_HEADER
    assert dispatcher_upstream.NGINX_GROUP == nginx.GROUP


async def test_lines_are_spread_evenly(bench, fleet):
    """Of 16 lines in flight together, each of two backends has eight."""
    barrier = asyncio.Barrier(16)

    async def together(body, attempt):
        await barrier.wait()
        return web.json_response(completion())

    for backend in fleet.backends:
        backend.script = together
    batch = await bench.submit(32)
    async with bench.running(**fleet.settings):
        await bench.ended(batch)

    assert [backend.most_in_flight for backend in fleet.backends] == [8, 8]


async def test_a_line_that_was_lost_goes_to_the_other_backend(bench, fleet):
    """Whatever breaks on one backend is tried on another one next."""
    for backend in fleet.backends:
        backend.script = lambda body, attempt: (
            RESET if sum(b.seen[body["tag"]] for b in fleet.backends) == 1
            else web.json_response(completion())
        )  # fmt: skip
    batch = await bench.submit(10)
    async with bench.running(**fleet.settings):
        ended = await bench.ended(batch)

    assert ended.counts.completed == 10
    first, second = (backend.seen for backend in fleet.backends)
    assert first == second == dict.fromkeys((f"t{i}" for i in range(10)), 1)


async def test_a_backend_that_refuses_burns_no_attempt(bench, fleet):
    """Its lines go to the other one, each with its one attempt still to spend."""
    await fleet.backends[0].vanish()
    batch = await bench.submit(40)
    async with bench.running(**fleet.settings, max_attempts=1):
        ended = await bench.ended(batch)

    assert ended.counts.completed == 40
    assert set(fleet.backends[1].seen.values()) == {1}
