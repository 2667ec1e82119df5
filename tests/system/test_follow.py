"""Following a batch on real processes that are killed while it runs."""

from __future__ import annotations

import asyncio
import json
import threading

from aiohttp import web
from inputs import requests
from scripted import completion, taking

from batchline.cli.api.client import Client
from batchline.cli.batches.partial import follow_lines


async def test_whoever_follows_gets_each_line_once_though_everything_is_killed(
    make_system, upstream
):
    """Gateway and dispatcher killed -9, a pause across it: 800 lines, none lost, none twice."""
    resumed, loop = asyncio.Event(), asyncio.get_running_loop()

    async def script(body, attempt):
        if int(body["tag"][1:]) >= 200:
            await resumed.wait()
        return web.json_response(completion())

    upstream.script = taking(0.02, script)
    system = make_system(max_in_flight=32)
    got = []

    def steer(batch, verb):
        return system.client.post(f"/batches/{batch.id}/{verb}", cast_to=object)

    def drive():
        system.wait_ready()
        batch = system.submit(requests(800))
        with Client(system.url) as client:
            follower = threading.Thread(target=follow_lines, args=(client, batch.id, got.append))
            follower.start()
            system.until(batch, lambda b: b.request_counts.completed >= 100)
            system.kill("gateway")
            system.start("gateway")
            system.wait_ready()
            steer(batch, "pause")
            system.kill("dispatcher")
            system.start("dispatcher")
            system.wait_ready()
            halted = system.client.batches.retrieve(batch.id)
            steer(batch, "resume")
            loop.call_soon_threadsafe(resumed.set)
            system.until(batch, lambda b: b.request_counts.completed >= 500)
            system.kill("gateway")
            system.start("gateway")
            follower.join(100)
        return halted, system.ended(batch)

    halted, ended = await asyncio.to_thread(drive)

    ids = [json.loads(line)["custom_id"] for line in got]
    assert halted.paused_at is not None
    assert 100 <= halted.request_counts.completed <= 200
    assert ended.request_counts.completed == 800
    assert sorted(ids) == sorted(f"id-{i}" for i in range(800))
