"""`batchline deliver` as a process: batches that run through are told, also if it is killed meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request

import pytest
from inputs import requests
from processes import System
from prometheus_page import total
from receivers import unwrapped
from scripted import Scripted
from waiting import until, wait_until

from batchline.process.locks import at_work
from batchline.serving.identity import Part
from batchline.webhooks.records import new_secret

SECRET = new_secret()


@pytest.fixture
async def system(tmp_path, receiver):
    async with Scripted() as upstream:
        made = System(
            tmp_path,
            upstream.url,
            webhook_url=receiver.url,
            webhook_secret=SECRET,
            webhook_networks="127.0.0.0/8",
        )
        yield made
        await asyncio.to_thread(made.end)


def page_of(system, path):
    url = f"http://127.0.0.1:{system.deliverer_port}{path}"
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read().decode()


async def test_a_batch_that_completes_is_told_and_the_process_stops_clean(system, receiver):
    """It says what it is, counts what it told, and is seen by its lock."""

    def drive():
        system.start("gateway", "dispatcher", "deliver")
        system.wait_ready()
        batch = system.ended(system.submit(requests(3)))
        name = "batchline_deliveries_total"
        wait_until(
            lambda: total(page_of(system, "/metrics"), name, outcome="taken") == 1,
            not_yet=OSError,
            saw=system.logs,
        )
        health = json.loads(page_of(system, "/health"))
        return batch, health, at_work(system.data), system.kill("deliver", signal.SIGTERM)

    batch, health, working, code = await asyncio.to_thread(drive)

    (told,) = receiver.told
    event = unwrapped(told, SECRET)
    assert (event.type, event.data.id) == ("batch.completed", batch.id)
    assert health["service"] == Part.DELIVERER
    assert "a deliverer" in working
    assert code == 0


@pytest.mark.slow
async def test_a_deliverer_killed_in_mid_delivery_tells_the_event_again(system, receiver):
    """Under the same id, by which its receiver knows it."""
    receiver.script = receiver.hang
    await asyncio.to_thread(system.start, "gateway", "dispatcher", "deliver")
    await asyncio.to_thread(system.wait_ready)
    batch = await asyncio.to_thread(system.submit, requests(3))
    await until(lambda: receiver.told, saw=system.logs)

    assert await asyncio.to_thread(system.kill, "deliver") == -signal.SIGKILL
    receiver.script = lambda _: 200
    receiver.release.set()
    await asyncio.to_thread(system.start, "deliver")
    await until(lambda: len(receiver.told) == 2, saw=system.logs)

    first, second = receiver.told
    assert first.id == second.id
    assert (first.body, first.batch_id) == (second.body, batch.id)
    unwrapped(second, SECRET)
