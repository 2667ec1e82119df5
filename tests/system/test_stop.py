"""Stopping: the first signal drains, the second is obeyed at once; clients see clean ends."""

from __future__ import annotations

import asyncio
import signal

import aiohttp
from aiohttp import web
from inputs import requests
from scripted import HANG, completion
from waiting import until

LINES = 100
IN_FLIGHT = 16


async def hanging(make_system, upstream, **settings):
    """A batch with all that may fly in flight on a hanging server."""
    upstream.script = lambda body, attempt: (
        HANG if attempt == 1 else web.json_response(completion())
    )
    system = make_system(max_in_flight=IN_FLIGHT, lease_s=600, **settings)
    await asyncio.to_thread(system.wait_ready)
    batch = await asyncio.to_thread(system.submit, requests(LINES))
    await until(lambda: upstream.in_flight == IN_FLIGHT)
    return system, batch


async def finished(system, upstream, batch):
    """Start a successor; return the results, all other lines being answered at once."""
    upstream.script = lambda body, attempt: web.json_response(completion())
    system.start("dispatcher")
    batch = await asyncio.to_thread(system.ended, batch)
    return await asyncio.to_thread(system.results, batch)


async def test_after_its_grace_a_dispatcher_aborts_and_gives_everything_back(make_system, upstream):
    """Exit code 0, the server sees every request end, the successor waits for no lease."""
    system, batch = await hanging(make_system, upstream, grace_s=0.3)

    code = await asyncio.to_thread(system.kill, "dispatcher", signal.SIGTERM)
    await until(lambda: upstream.disconnects == IN_FLIGHT)
    output, errors = await finished(system, upstream, batch)

    assert code == 0
    assert (len(output), errors) == (LINES, [])
    assert sum(upstream.seen.values()) == LINES + IN_FLIGHT


async def test_the_second_signal_stops_a_dispatcher_at_once(make_system, upstream):
    """It does not wait for its grace of ten minutes; the exit code says that it was forced."""
    system, batch = await hanging(make_system, upstream, grace_s=600)

    dispatcher = system.processes["dispatcher"]
    dispatcher.send_signal(signal.SIGTERM)
    await asyncio.to_thread(system.until_logged, "waiting up to 600 s")
    code = await asyncio.to_thread(system.kill, "dispatcher", signal.SIGTERM)
    output, errors = await finished(system, upstream, batch)

    assert code == 130
    assert (len(output), errors) == (LINES, [])


async def test_a_standby_leaves_when_it_is_told_to(make_system, upstream, tmp_path):
    """It waits for the lock of a living dispatcher; SIGTERM ends it well and touches nothing."""
    system = make_system()
    await asyncio.to_thread(system.wait_ready)
    first = system.processes.pop("dispatcher")
    system.start("dispatcher")
    await asyncio.to_thread(system.until_logged, "standing by")

    code = await asyncio.to_thread(system.kill, "dispatcher", signal.SIGTERM)

    assert (code, first.poll()) == (0, None)
    first.terminate()
    assert await asyncio.to_thread(first.wait, 60) == 0


async def test_a_stopping_gateway_answers_or_closes_and_nothing_else(make_system, upstream):
    """Clients that keep asking see whole answers or a closed connection, never a 5xx; streams end."""
    upstream.script = lambda body, attempt: HANG
    system = make_system(grace_s=20)
    await asyncio.to_thread(system.wait_ready)
    batch = await asyncio.to_thread(system.submit, requests(5))
    path = f"{system.url}/v1/batches/{batch.id}"
    statuses, endings = [], []
    stopping = asyncio.Event()

    async def poll(http):
        try:
            while True:
                async with http.get(path) as answer:
                    statuses.append(answer.status)
                    await answer.read()
        except aiohttp.ClientConnectionError as exc:
            assert stopping.is_set()
            endings.append(exc)

    async def stream(http, address):
        async with http.get(address) as answer:
            opened.append(answer.status)
            try:
                async for _ in answer.content.iter_any():
                    pass
                endings.append(None)
            except aiohttp.ClientPayloadError as exc:
                endings.append(exc)

    opened = []
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as clients:
        for _ in range(5):
            clients.create_task(poll(http))
        clients.create_task(stream(http, f"{system.url}/ui/stream"))
        clients.create_task(stream(http, f"{path}/results?follow=true"))
        await until(lambda: len(opened) == 2 and len(statuses) > 50)
        stopping.set()
        code = await asyncio.to_thread(system.kill, "gateway", signal.SIGTERM)
    await asyncio.to_thread(system.kill, "dispatcher")

    assert code == 0
    assert set(statuses) == {200}
    assert len(endings) == 7
    assert "Traceback" not in (system.folder / "gateway.log").read_text()
