"""Cancel through real processes: gateway, dispatcher, nginx, an upstream that sees who leaves."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiohttp import web
from inputs import requests
from real_nginx import running_nginx
from scripted import HANG, completion
from waiting import until

LINES = 20_000
DONE = 500
IN_FLIGHT = 300


def some_answered(body, attempt):
    return web.json_response(completion()) if int(body["tag"][1:]) < DONE else HANG


def check(output, errors, completed):
    assert len(output) == completed
    assert [line["custom_id"] for line in output] == [f"id-{n}" for n in range(completed)]
    assert [line["custom_id"] for line in errors] == [f"id-{n}" for n in range(completed, LINES)]
    assert {line["error"]["code"] for line in errors} == {"batch_cancelled"}


async def test_hundreds_in_flight_behind_nginx_are_aborted(make_system, upstream, tmp_path):
    """20,000 lines, 300 of them on a hanging server: it sees all of them leave, through nginx."""
    upstream.script = some_answered
    async with running_nginx([f"127.0.0.1:{upstream.port}"], tmp_path) as nginx:
        system = make_system(upstream_url=nginx, max_in_flight=IN_FLIGHT)
        await asyncio.to_thread(system.wait_ready)
        batch = await asyncio.to_thread(system.submit, requests(LINES))
        await until(lambda: upstream.in_flight == IN_FLIGHT)
        batch = await asyncio.to_thread(
            system.until, batch, lambda b: b.request_counts.completed == DONE
        )
        began = time.monotonic()
        shown = await asyncio.to_thread(system.client.batches.cancel, batch.id)
        batch = await asyncio.to_thread(system.ended, batch)
        print(f"cancelled after {time.monotonic() - began:.2f} s")
        await until(lambda: upstream.in_flight == 0)
        output, errors = await asyncio.to_thread(system.results, batch)

    assert shown.status in {"cancelling", "cancelled"}
    assert (batch.status, batch.request_counts.failed) == ("cancelled", 0)
    assert upstream.disconnects == IN_FLIGHT
    assert max(upstream.seen.values()) == 1
    check(output, errors, DONE)


@pytest.mark.parametrize("paused", [False, True])
async def test_a_cancel_while_the_dispatcher_is_dead_is_done_by_the_next(
    make_system, upstream, paused
):
    """Killed with lines in flight, then cancelled: the successor sends nothing and closes the batch."""
    upstream.script = some_answered
    system = make_system(max_in_flight=IN_FLIGHT)
    await asyncio.to_thread(system.wait_ready)
    batch = await asyncio.to_thread(system.submit, requests(LINES))
    batch = await asyncio.to_thread(
        system.until, batch, lambda b: b.request_counts.completed == DONE
    )
    await until(lambda: upstream.in_flight == IN_FLIGHT)
    if paused:
        await asyncio.to_thread(system.post, f"/v1/batches/{batch.id}/pause")
    await asyncio.to_thread(system.kill, "dispatcher")
    sent = len(upstream.requests)

    shown = await asyncio.to_thread(system.client.batches.cancel, batch.id)
    began = time.monotonic()
    system.start("dispatcher")
    batch = await asyncio.to_thread(system.ended, batch)
    print(f"cancelled {time.monotonic() - began:.2f} s after the start")
    output, errors = await asyncio.to_thread(system.results, batch)

    assert shown.status == "cancelling"
    assert batch.status == "cancelled"
    assert len(upstream.requests) == sent
    check(output, errors, DONE)
