"""Fifty clients add requests while gateway and dispatcher are killed: each custom_id once in the results.

BATCHLINE_TEST_APPENDS=10000 makes it as long as it shall be proved; CI takes fewer.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter

import aiohttp
import pytest
from typer.testing import CliRunner
from waiting import pass_time

from batchline.cli.main import app

APPENDS = int(os.environ.get("BATCHLINE_TEST_APPENDS", "600"))
CLIENTS = 50
KILLS = max(12, APPENDS // 200)
AGAIN = (aiohttp.ClientError, ConnectionError, TimeoutError)

pytestmark = pytest.mark.slow


def request(number):
    body = {"messages": [{"role": "user", "content": f"q{number}"}], "tag": f"t{number}"}
    return {"custom_id": f"id-{number}", "body": body}


def drawn(chance):
    """What each append brings: mostly one new request, at times several, and some that others bring, too."""
    last, appends = 0, []
    for _ in range(APPENDS):
        new = chance.choice((1, 1, 1, 2, 5))
        numbers = list(range(last, last + new))
        last += new
        if chance.random() < 0.3:
            numbers += [n for n in (chance.randrange(last), last - new - 1) if 0 <= n < last - new]
        appends.append(sorted(set(numbers), key=lambda n: chance.random()))
    return appends, last


class Clients:
    """They repeat each call until it is answered with 200, whatever happened to it."""

    def __init__(self, system, batch_id):
        self.url = f"{system.url}/v1/batches/{batch_id}"
        self.answered = 0
        self.repeated = 0
        self.added = 0

    async def call(self, session, method, path, **kwargs):
        while True:
            try:
                async with session.request(method, self.url + path, **kwargs) as answer:
                    text = await answer.text()
                    if answer.status == 200:
                        return json.loads(text)
                    assert answer.status >= 500, text
            except AGAIN:
                pass
            self.repeated += 1
            await pass_time(0.05)  # as a client that backs off

    async def add_all(self, session, appends):
        while appends:
            numbers = appends.pop()
            if numbers[0] % 2:
                lines = "\n".join(json.dumps(request(n)) for n in numbers)
                sent = {"data": lines, "headers": {"Content-Type": "application/x-ndjson"}}
            else:
                sent = {"json": {"requests": [request(n) for n in numbers]}}
            told = await self.call(session, "POST", "/requests", **sent)
            assert told["added"] + told["duplicates"] == len(numbers)
            self.answered += 1
            self.added += told["added"]

    async def follow(self, session, seen):
        """Read each result once, going on behind the last one after each loss."""
        while True:
            try:
                params = {"follow": "true", "after_line": str(sum(seen.values()))}
                async with session.get(self.url + "/results", params=params) as answer:
                    if answer.status == 200:
                        async for line in answer.content:
                            if line.strip():
                                seen[json.loads(line)["custom_id"]] += 1
                        return
            except (*AGAIN, ValueError):  # a line that was cut short does not count
                pass
            await pass_time(0.05)

    async def kill_often(self, system):
        """Kill one of the processes, or both, each time that some more appends were answered."""
        chance = random.Random(7)
        for number in range(1, KILLS + 1):
            while self.answered < APPENDS * number // (KILLS + 1):
                await pass_time(0.01)
            names = chance.choice((["gateway"], ["dispatcher"], ["gateway", "dispatcher"]))
            for name in names:
                await asyncio.to_thread(system.kill, name)
            system.start(*names)


async def test_each_request_is_answered_once_whatever_is_killed(make_system):
    """No call is lost that was answered, none is taken twice, and what follows the batch sees each line once."""
    system = make_system(lease_s=2, max_in_flight=64)
    await asyncio.to_thread(system.wait_ready)
    appends, total = drawn(random.Random(1))
    batch = await asyncio.to_thread(
        system.client.post, "/batches", body={"open": True, "model": "m"}, cast_to=object
    )
    clients, seen = Clients(system, batch["id"]), Counter()

    limits = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=60)
    following = aiohttp.ClientTimeout(total=None, sock_read=60)
    async with (
        aiohttp.ClientSession(connector=limits, timeout=timeout) as session,
        aiohttp.ClientSession(timeout=following, read_bufsize=1 << 20) as other,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(clients.follow(other, seen))
        async with asyncio.TaskGroup() as adding:
            adding.create_task(clients.kill_often(system))
            for _ in range(CLIENTS):
                adding.create_task(clients.add_all(session, appends))
        shown = await clients.call(session, "GET", "")
        await clients.call(session, "POST", "/finalize")
    found = await asyncio.to_thread(system.client.batches.retrieve, batch["id"])
    ended = await asyncio.to_thread(system.ended, found)
    output, errors = await asyncio.to_thread(system.results, ended)
    inputs = await asyncio.to_thread(system.lines, ended.input_file_id)
    await asyncio.to_thread(system.stop)
    fsck = await asyncio.to_thread(CliRunner().invoke, app, ["fsck", str(system.data), "--json"])

    wanted = {f"id-{n}" for n in range(total)}
    assert (ended.status, errors) == ("completed", [])
    assert shown["request_counts"]["total"] == total
    assert clients.added <= total
    assert clients.repeated > 0
    ids = [line["custom_id"] for line in output]
    assert (len(ids), set(ids)) == (total, wanted)
    assert [line["custom_id"] for line in inputs] == ids
    assert (set(seen), set(seen.values())) == (wanted, {1})
    assert json.loads(fsck.stdout)["ok"], fsck.stdout
