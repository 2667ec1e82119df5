"""fsck, repair and backup of a batch that takes requests: its requests lie in what was appended."""

from __future__ import annotations

import asyncio
import json
import shutil

import pytest
from aiohttp import web
from inputs import requests
from processes import System
from scripted import Scripted, completion
from typer.testing import CliRunner

from batchline.cli.main import app

LINES = 90


def append_all(system):
    """Leave an open batch with three appends, in which some requests come twice, and an empty one."""
    post = system.client.post
    batch_id = post("/batches", body={"open": True}, cast_to=object)["id"]
    lines = [json.loads(line) for line in requests(LINES).splitlines()]
    for some in (lines[:5], lines[3:80], lines[80:]):
        post(f"/batches/{batch_id}/requests", body={"requests": some}, cast_to=object)
    post("/batches", body={"open": True}, cast_to=object)
    return batch_id


async def make(folder):
    async with Scripted() as upstream:
        system = System(folder, upstream.url)

        def drive():
            system.start("gateway", "dispatcher")
            system.wait_ready()
            system.kill("dispatcher")  # none of it is sent
            batch_id = append_all(system)
            system.kill("gateway")
            return batch_id

        return await asyncio.to_thread(drive)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open")
    return folder, {"open": asyncio.run(make(folder))}


@pytest.fixture
async def upstream():
    async with Scripted() as server:
        server.script = lambda body, attempt: web.json_response(completion(body["tag"]))
        yield server


async def finished(folder, batch_id, upstream):
    """Start real processes on the directory, finalize the batch and let it end."""
    system = System(folder, upstream.url, lease_s=5)

    def drive():
        system.start("gateway", "dispatcher")
        try:
            system.wait_ready()
            batch = system.client.batches.retrieve(batch_id)
            if batch.status == "in_progress":
                system.client.post(f"/batches/{batch_id}/finalize", cast_to=object)
            batch = system.ended(batch)
            has_results = batch.status == "completed"
            return batch, *(system.results(batch) if has_results else ((), ()))
        finally:
            system.stop()

    return await asyncio.to_thread(drive)


def appends_of(directory):
    return sorted(directory.blob(f"appends/{directory.ids['open']}").iterdir())


def test_an_open_batch_is_sound(directory):
    """Its slices are ranges of several blobs, and bytes between them belong to nobody."""
    code, report = directory.fsck()

    assert (code, report["ok"]) == (0, True), report
    assert len(appends_of(directory)) == 3


DAMAGES = {
    "a slice is gone": ("DELETE FROM slices WHERE first = 5", "slices"),
    "two slices overlap": ("UPDATE slices SET offset_bytes = 0 WHERE first = 69", "slices"),
    "a slice is of no append": ("UPDATE slices SET append = 0 WHERE first = 0", "slices"),
}


@pytest.mark.parametrize(("damage", "check"), DAMAGES.values(), ids=DAMAGES)
async def test_damaged_slices_end_the_batch(directory, upstream, damage, check):
    """Which requests of its appends it has, they alone tell: it fails, saying so, and nothing else does."""
    assert directory.sql("SELECT first FROM slices ORDER BY first") == [(0,), (5,), (69,), (80,)]
    directory.sql(damage)

    assert (check, directory.ids["open"]) in await asyncio.to_thread(directory.found)
    await asyncio.to_thread(directory.repaired)

    batch, _, _ = await finished(directory.folder, directory.ids["open"], upstream)
    assert batch.status == "failed"
    assert "Its requests are lost" in batch.errors.data[0].message


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_lost_append_ends_the_batch_with_the_reason(directory, is_cut):
    """It could never be joined, whatever has been answered."""
    path = appends_of(directory)[0]
    if is_cut:
        path.write_bytes(path.read_bytes()[:-9])
    else:
        path.unlink()

    assert directory.found() == [("input", directory.ids["open"])]
    directory.repaired()

    assert directory.batch("open")["status"] == "failed"


async def test_counted_bytes_are_counted_anew(directory, upstream):
    """The batch goes on and ends with each request once."""
    directory.sql("UPDATE batches SET appended_bytes = 7 WHERE total = 90")

    assert await asyncio.to_thread(directory.found) == [("counts", directory.ids["open"])]
    await asyncio.to_thread(directory.repaired)

    batch, output, errors = await finished(directory.folder, directory.ids["open"], upstream)
    assert (batch.status, len(output), errors) == ("completed", LINES, [])


async def test_a_backup_of_an_open_batch_goes_on(directory, upstream, tmp_path):
    """It has what was appended, and takes more."""
    copy = tmp_path / "copy"
    copy.mkdir()
    arguments = ["backup", str(copy / "data"), "--data", str(directory.data), "--json"]
    made = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    shutil.rmtree(directory.data)
    fsck = await asyncio.to_thread(CliRunner().invoke, app, ["fsck", str(copy / "data"), "--json"])

    batch, output, errors = await finished(copy, directory.ids["open"], upstream)

    assert made.exit_code == 0, made.output
    assert json.loads(fsck.stdout)["ok"], fsck.stdout
    assert (batch.status, len(output), errors) == ("completed", LINES, [])
    assert json.loads(made.stdout)["missing"] == []


async def test_a_batch_that_was_joined_is_proved_against_its_requests(directory, upstream):
    """As one over a file: ids of results are those of its input."""
    await finished(directory.folder, directory.ids["open"], upstream)

    report = await asyncio.to_thread(directory.fsck)

    assert report[0] == 0, report
    assert any(
        f["check"] == "results" and "1 batches" in f["detail"] for f in report[1]["findings"]
    )
