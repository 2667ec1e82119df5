"""Lines that kill model servers among lines that do not, on servers that really go down and come back."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace

import pytest
from aiohttp import web
from real_nginx import running_nginx
from scripted import RESET, Scripted, completion
from waiting import pass_time

from batchline.states import BatchStatus
from dispatcher.attempts.quarantine import BLAMES, LOSSES

MOST_DEATHS = 2 * LOSSES + 4 + BLAMES
"""Of one poison line: nginx may send it to two servers each time it is lost; then it may be found in a lost
group of all 16 lines that a server had, which is halved four times, and is blamed alone."""


class Mortal(Scripted):
    """A model server that `die`s with all it has in hand, and comes back a little later."""

    def __init__(self, script=None, *, down_s=0.3):
        super().__init__(script)
        self.down_s = down_s
        self.deaths = 0
        self.is_down = False
        self.rising = set()

    async def die(self):
        """Close the port and every connection, and come back."""
        if self.is_down:
            return
        self.is_down = True
        self.deaths += 1
        await self.vanish()
        for connection in list(self.runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()
        rising = asyncio.ensure_future(self.rise())
        self.rising.add(rising)
        rising.add_done_callback(self.rising.discard)

    async def rise(self):
        await pass_time(self.down_s)
        await self.listen()
        self.is_down = False

    async def __aexit__(self, *exc):
        for rising in self.rising:
            rising.cancel()
        await super().__aexit__(*exc)


def is_poison(body, poison):
    return int(body["tag"][1:]) in poison


def killing(servers, poison, *, by_hand=None, takes_s=0.02):
    """Let each server answer after a while, or die: of a poison line, or when its turn has come."""

    def script_of(server):
        async def script(body, attempt):
            if is_poison(body, poison) or (by_hand and by_hand.is_due()):
                await server.die()
                return RESET  # also one that came while the port was being closed
            await pass_time(takes_s * random.uniform(0.2, 1))
            return web.json_response(completion())

        return script

    for server in servers:
        server.script = script_of(server)


class ByHand:
    """Somebody who kills a server of the fleet each time it was sent some lines more."""

    def __init__(self, least=100, most=200):
        self.between = least, most
        self.kills = 0
        self.left = random.randint(*self.between)

    def is_due(self):
        """Count one line more, and say whether the server that got it is killed now."""
        self.left -= 1
        if self.left:
            return False
        self.left = random.randint(*self.between)
        self.kills += 1
        return True


@asynccontextmanager
async def fleet(bench, folder, count):
    """Servers that may die: one alone, or several behind nginx."""
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(Mortal()) for _ in range(count)]
        urls = tuple(server.url for server in servers)
        bench.upstream, given = servers[0], {}
        if count > 1:
            folder.mkdir()
            names = [url.removeprefix("http://") for url in urls]
            url = await stack.enter_async_context(running_nginx(names, folder))
            bench.upstream, given = SimpleNamespace(url=url), {"backend_urls": urls}
        yield SimpleNamespace(servers=servers, settings=given)


def deaths(there):
    return sum(server.deaths for server in there.servers)


@pytest.mark.parametrize(("number", "count"), [(1, 1), (3, 1), (1, 3), (3, 3)])
async def test_poison_lines_fail_and_nobody_else(bench, tmp_path, count, number):
    """Among 1,000 lines: each poison line ends with its own code, after a few servers at most."""
    poison = set(random.Random(number).sample(range(1000), number))
    async with fleet(bench, tmp_path / "nginx", count) as there:
        killing(there.servers, poison)
        batch = await bench.submit(1000)
        async with bench.running(**there.settings, max_in_flight=16 * count):
            ended = await bench.ended(batch, within_s=110)
        output, errors = await bench.results(ended)

        assert ended.status is BatchStatus.COMPLETED
        assert len(output) == 1000 - number
        assert {e["custom_id"] for e in errors} == {f"id-{n}" for n in poison}
        assert {e["error"]["code"] for e in errors} == {"backend_killed"}
        assert "died" in errors[0]["error"]["message"]
        assert 4 * number <= deaths(there) <= MOST_DEATHS * number


@pytest.mark.parametrize("count", [1, 3])
async def test_servers_killed_by_hand_fail_nobody(bench, tmp_path, count):
    """However often each of them goes down under its lines, every line is answered."""
    by_hand = ByHand()
    async with fleet(bench, tmp_path / "nginx", count) as there:
        killing(there.servers, poison=(), by_hand=by_hand)
        batch = await bench.submit(800)
        async with bench.running(**there.settings, max_in_flight=16 * count):
            ended = await bench.ended(batch, within_s=110)

    assert deaths(there) >= 3
    assert (ended.counts.completed, ended.counts.failed) == (800, 0)


async def test_poison_and_servers_killed_by_hand_together(bench, tmp_path):
    """Three poison lines among 1,000, servers killed on top: the innocent are answered."""
    poison, by_hand = {100, 101, 500}, ByHand(200, 400)
    async with fleet(bench, tmp_path / "nginx", 3) as there:
        killing(there.servers, poison, by_hand=by_hand)
        batch = await bench.submit(1000)
        async with bench.running(**there.settings, max_in_flight=48):
            ended = await bench.ended(batch, within_s=110)
        _, errors = await bench.results(ended)

    assert by_hand.kills >= 2
    assert {e["custom_id"] for e in errors} == {f"id-{n}" for n in poison}
