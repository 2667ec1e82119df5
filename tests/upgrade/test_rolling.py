"""A newer version beside an older one: the order that docs/upgrade.md promises, and the wrong one."""

from __future__ import annotations

import asyncio
import shutil
import signal
from pathlib import Path

import openai
import pytest
from inputs import requests
from processes import System
from scripted import Share

ROOT = Path(__file__).parents[2]
LINES = 600


@pytest.fixture
def newer(tmp_path):
    """The programs as of a later version: one migration more."""
    folder = tmp_path / "newer"
    for package in ("batchline", "gateway", "dispatcher", "deliver", "dashboard"):
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    migration = folder / "batchline" / "store" / "sql" / "migrations" / "9000_later.sql"
    migration.write_text("ALTER TABLE batches ADD COLUMN later TEXT;\n")
    return folder


@pytest.fixture
async def system(tmp_path, upstream):
    upstream.script = Share(50)
    made = System(tmp_path, upstream.url, max_in_flight=8)
    made.start("gateway", "dispatcher")
    yield made
    await asyncio.to_thread(made.stop)


async def test_dispatcher_first_then_gateway_loses_and_repeats_nothing(system, upstream, newer):
    """While only the gateway is old it reads on, refuses to write with 503 and says what to do."""
    share = upstream.script

    def drive():
        impatient = system.client.with_options(max_retries=0)
        system.wait_ready()
        batch = system.submit(requests(LINES))
        system.until(batch, lambda b: b.request_counts.completed == 50)
        older = system.processes.pop("dispatcher")
        older.terminate()
        system.until_logged("waiting up to")
        share.many = 300
        codes = [older.wait(60)]
        system.start("dispatcher", cwd=newer)
        system.until(batch, lambda b: b.request_counts.completed == 300)
        with pytest.raises(openai.InternalServerError) as refused:
            impatient.files.create(file=requests(1), purpose="batch")
        ready = system.get("/ready")
        share.many = LINES
        codes.append(system.kill("gateway", signal.SIGTERM))
        system.start("gateway", cwd=newer)
        system.wait_ready()
        second = system.submit(requests(3))
        ends = [system.ended(b) for b in (batch, second)]
        return codes, refused.value, ready, [system.results(end) for end in ends]

    codes, refused, ready, results = await asyncio.to_thread(drive)

    assert codes == [0, 0]
    assert refused.status_code == 503
    assert "schema 9000" in refused.message
    assert "restart it with the new version" in refused.message
    assert refused.response.headers["Retry-After"]
    assert ready[0] == 503
    assert "restart it with the new version" in ready[1]
    assert [(len(output), errors) for output, errors in results] == [(LINES, []), (3, [])]
    once = LINES - 3  # three lines were asked for by both batches
    assert sorted(upstream.seen.values()) == [1] * once + [2] * 3


async def test_a_dispatcher_under_which_the_schema_changed_ends_honestly(system, upstream, newer):
    """Gateway first is the wrong order: the old dispatcher stops with a message, the new one goes on."""
    share = upstream.script

    def drive():
        system.wait_ready()
        batch = system.submit(requests(LINES))
        system.until(batch, lambda b: b.request_counts.completed == 50)
        system.kill("gateway", signal.SIGTERM)
        system.start("gateway", cwd=newer)
        code = system.processes.pop("dispatcher").wait(60)
        share.many = LINES
        said = (system.folder / "dispatcher.log").read_text()
        system.start("dispatcher", cwd=newer)
        system.wait_ready()
        return code, said, system.results(system.ended(batch))

    code, said, (output, errors) = await asyncio.to_thread(drive)

    assert code == 1
    assert "restart it with the new version" in said
    assert "Traceback" not in said
    assert (len(output), errors) == (LINES, [])
