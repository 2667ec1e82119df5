"""A model server whose key was changed: the batch waits, `/ready` tells why, and with the right key it completes."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web
from bench import request_line
from scripted import completion
from waiting import until

LINES = 2000


class Guarded:
    """A script that answers who shows the key, and 401 to all others."""

    def __init__(self, key):
        self.key = key
        self.refused = 0

    def __call__(self, body, attempt):
        async def answer(request):
            if request.headers.get("Authorization") == f"Bearer {self.key}":
                return web.json_response(completion())
            self.refused += 1
            return web.json_response({"error": "Unauthorized"}, status=401)

        return answer


async def test_a_refused_key_costs_no_line(make_system, upstream):
    """Of 2,000 lines all wait, and hardly one is spent on finding out; no restart is needed."""
    guard = upstream.script = Guarded("new")
    upstream.models, upstream.is_sick = 401, True
    system = make_system(upstream_api_key="old")
    content = "\n".join(request_line(n) for n in range(LINES)).encode()
    await asyncio.to_thread(system.wait_ready)
    batch = await asyncio.to_thread(system.submit, content)

    status, told = await _until_not_ready(system)
    waiting = await asyncio.to_thread(system.client.batches.retrieve, batch.id)
    refused = guard.refused
    guard.key, upstream.models = "old", ["m"]
    ended = await asyncio.to_thread(system.ended, batch)

    assert status == 503
    assert any("refuses our key (401)" in reason for reason in json.loads(told)["reasons"])
    assert (waiting.status, waiting.request_counts.failed) == ("in_progress", 0)
    assert refused < LINES / 10
    assert ended.request_counts.completed == LINES
    assert (await asyncio.to_thread(system.get, "/ready"))[0] == 200


async def _until_not_ready(system):
    async def refused():
        status, text = await asyncio.to_thread(system.get, "/ready")
        return (status, text) if status != 200 and "refuses" in text else None

    return await until(refused)
