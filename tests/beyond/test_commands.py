"""The command line on batches that run: results, errors, retry, pause, resume, rm."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web
from scripted import HANG, completion, error

from gateway.running_requests import RUNNING

ROOT = Path(__file__).parents[2]


@pytest.fixture
def start(house):
    """Start the command line as a process against the gateway."""
    environment = os.environ | {
        "BATCHLINE_URL": house.url.removesuffix("/v1"),
        "PYTHONPATH": str(ROOT),
    }

    async def run(*arguments):
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "batchline.cli.main",
            *map(str, arguments),
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    return run


@pytest.fixture
def batchline(start):
    """Run it to its end: exit code, output, talk."""

    async def run(*arguments):
        process = await start(*arguments)
        async with asyncio.timeout(60):
            out, talk = await process.communicate()
        return SimpleNamespace(code=process.returncode, out=out.decode(), talk=talk.decode())

    return run


def ids(text):
    return [json.loads(line)["custom_id"] for line in text.splitlines()]


def script(body, attempt):
    if body["tag"] == "t0" and attempt == 1:
        return HANG
    bad = body["tag"] == "t2" and attempt == 1
    return error(400, "too long") if bad else web.json_response(completion())


async def test_results_and_errors_of_a_running_batch(house, upstream, batchline, start):
    """Successes or failures as the files will have them; --follow goes on to the end."""
    upstream.script = script
    batch = await house.submit(5)
    async with house.running():
        await house.finished(batch, 4)
        so_far = await batchline("results", batch.id)
        failed = await batchline("errors", batch.id)
        same = await batchline("results", batch.id, "--errors")
        refused = await batchline("results", batch.id, "-o", house.tmp_path / "out.jsonl")
        following = await start("results", batch.id, "--follow")
        first = [await following.stdout.readline() for _ in range(3)]
        upstream.release.set()
        rest, talk = await following.communicate()
        ended = await house.ended(batch)
        whole = await batchline("results", batch.id)

    assert (so_far.code, ids(so_far.out)) == (0, ["id-1", "id-3", "id-4"])
    assert "4 of 5 lines are finished" in so_far.talk
    assert ids(failed.out) == ["id-2"]
    assert same.out == failed.out == (await house.content(ended.error_file_id)).decode()
    assert refused.code == 2
    assert sorted(first) == sorted(so_far.out.encode().splitlines(keepends=True))
    assert (following.returncode, ids(rest.decode())) == (0, ["id-0"])
    assert "✓ completed" in talk.decode()
    assert ids(whole.out) == ["id-0", "id-1", "id-3", "id-4"]


async def test_errors_of_a_refused_file_are_its_faults(house, upstream, batchline):
    """One JSON object a line, as the route has them."""
    batch = await house.submit("nonsense\n")
    async with house.running():
        await house.ended(batch)
    found = await batchline("errors", batch.id)

    assert json.loads(found.out)["error"]["code"] == "invalid_json_line"
    assert found.code == 0


async def test_pause_resume_retry_and_rm(house, upstream, batchline):
    """A batch through all of them; each says what it did, refusals exit with 2."""
    upstream.script = script
    batch = await house.submit(5)
    async with house.running():
        await house.finished(batch, 4)
        paused = await batchline("pause", batch.id)
        listed = await batchline("ls")
        shown = await batchline("show", batch.id)
        resumed = await batchline("resume", batch.id, "--json")
        early = await batchline("retry", batch.id)
        still = await batchline("rm", batch.id, "--yes")
        upstream.release.set()
        await house.ended(batch)
        retried = await batchline("retry", batch.id, "--name", "again", "--window", "2h")
        second = await house.store.get_batch(retried.out.strip())
        await house.ended(second)
        unasked = await batchline("rm", "again")
        removed = await batchline("rm", "again", "--yes", "--json")

    assert (paused.code, paused.out) == (0, f"{batch.id}  ‖ paused\n")
    assert "‖ paused" in listed.out
    assert re.search(r"paused since +\d", shown.out)
    assert json.loads(resumed.out)["paused_at"] is None
    assert (early.code, still.code, unasked.code) == (2, 2, 2)
    assert "has not ended" in early.talk
    assert f"batchline cancel {batch.id}" in still.talk
    assert (retried.code, "1 line of" in retried.talk) == (0, True)
    assert second.metadata == {"name": "again", "retry_of": batch.id}
    assert second.completion_window == "2h"
    assert "Nobody is here to confirm" in unasked.talk
    assert json.loads(removed.out) == {"id": second.id, "object": "batch", "deleted": True}


async def test_following_goes_on_where_a_broken_connection_left_it(house, upstream, start):
    """A gateway that cuts its followers off costs no line and repeats none."""
    running = house.server.app[RUNNING]
    upstream.script = script
    batch = await house.submit(40)
    async with house.running(), asyncio.timeout(60):
        await house.finished(batch, 39)
        process = await start("results", batch.id, "--follow")
        got = [await process.stdout.readline() for _ in range(38)]
        await running.drain(grace_s=10)
        running.is_draining = False
        upstream.release.set()
        rest, talk = await process.communicate()

    assert "Still trying" in talk.decode()
    assert sorted(ids((b"".join(got) + rest).decode())) == sorted(
        f"id-{i}" for i in range(40) if i != 2
    )


async def test_finalize_closes_an_open_batch(house, upstream, batchline):
    """It says what the batch is doing then; one over a file is refused."""
    plain = await house.submit(1)
    batch = await house.open_batch()
    await house.append(batch, [0])

    refused = await batchline("finalize", plain.id)
    closed = await batchline("finalize", batch.id)

    assert (refused.code, "'open'" in refused.talk) == (2, True)
    assert (closed.code, closed.out) == (0, f"{batch.id}  ▶ running\n")
