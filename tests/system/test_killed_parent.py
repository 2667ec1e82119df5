"""`batchline serve` whose parent process alone was killed, and which is started again at once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import urllib.request

import openai
import psutil
import pytest
from inputs import requests
from ports import free_port
from scripted import HANG
from waiting import until

_PATIENCE_S = 60
READY = "Everything is up"


class Serve:
    """One `batchline serve` and what it says."""

    def __init__(self, process, log):
        self.process, self.log = process, log

    @property
    def said(self):
        return self.log.read_text()

    async def until_said(self, words):
        def is_said():
            is_there = words in self.said
            assert is_there or self.process.poll() is None, self.said
            return is_there

        await until(is_said, within_s=_PATIENCE_S, saw=lambda: self.said)

    async def ended(self):
        """Return its exit code."""
        return await asyncio.to_thread(self.process.wait, _PATIENCE_S)

    async def killed(self):
        """Kill this process alone; return those that it started, by what they are."""
        children = psutil.Process(self.process.pid).children()
        family = {process.cmdline()[-1]: process for process in children}
        self.process.kill()
        await self.ended()
        return family


@pytest.fixture
async def start(tmp_path, upstream):
    """Start `serve`, always on the same ports and folder."""
    port = free_port()
    environment = os.environ | {
        "BATCHLINE_PORT": str(port),
        "BATCHLINE_DISPATCHER_PORT": str(free_port()),
        "BATCHLINE_DELIVERER_PORT": str(free_port()),
        "BATCHLINE_DATA_DIR": str(tmp_path / "data"),
        "BATCHLINE_UPSTREAM_URL": upstream.url,
        "BATCHLINE_GRACE_S": str(_PATIENCE_S),
    }
    started = []

    async def run():
        log = tmp_path / f"{len(started)}.log"
        with log.open("w") as file:
            process = await asyncio.to_thread(
                subprocess.Popen,
                [sys.executable, "-m", "batchline.cli.main", "serve"],
                env=environment,
                stdout=file,
                stderr=file,
            )
        started.append(Serve(process, log))
        return started[-1]

    run.url = f"http://127.0.0.1:{port}"
    yield run
    upstream.release.set()
    for serve in started:
        if serve.process.poll() is None:
            serve.process.terminate()
            await serve.ended()


async def in_flight(start, upstream):
    """Start `serve` and a batch of one line that its model server keeps."""
    upstream.script = lambda *_: HANG
    first = await start()
    await first.until_said(READY)
    async with openai.AsyncOpenAI(base_url=f"{start.url}/v1", api_key="any") as client:
        file = await client.files.create(file=requests(1), purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
    async with asyncio.timeout(_PATIENCE_S):
        await upstream.arrived.wait()
    return first, batch


async def test_the_next_run_waits_until_the_killed_ones_children_have_finished(start, upstream):
    """It says so; what was in flight is answered and kept, and sent no second time."""
    first, batch = await in_flight(start, upstream)

    family = await first.killed()
    second = await start()
    await second.until_said("An earlier run was killed, and its processes still finish")
    assert "at most 80 s" in second.said
    assert "Dashboard" not in second.said
    upstream.release.set()
    await second.until_said(READY)

    async with openai.AsyncOpenAI(base_url=f"{start.url}/v1", api_key="any") as client:

        async def completed():
            found = await client.batches.retrieve(batch.id)
            return found if found.status == "completed" else None

        ended = await until(completed, within_s=_PATIENCE_S)
    assert ended.request_counts.completed == 1
    assert sum(upstream.seen.values()) == 1
    assert family.keys() > {"gateway", "dispatcher"}
    for process in (family["gateway"], family["dispatcher"]):
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


async def test_a_run_that_lives_is_not_waited_for(start, upstream):
    """Two starts of the same thing are a mistake: the second ends at once and names the ports."""
    first = await start()
    await first.until_said(READY)

    second = await start()

    assert await second.ended() == 2
    assert "An earlier run" not in second.said
    assert "for the gateway: Address already in use" in second.said
    with urllib.request.urlopen(start.url + "/health", timeout=_PATIENCE_S) as answer:
        assert answer.status == 200


async def test_what_was_left_behind_may_be_ended_by_hand(start, upstream):
    """Nobody must wait for the whole grace: the next run goes on when the port is free."""
    first, _ = await in_flight(start, upstream)
    family = await first.killed()
    second = await start()
    await second.until_said("An earlier run was killed")

    family["dispatcher"].kill()

    await second.until_said(READY)
