"""A data directory made by real processes, killed in the middle of a batch; each test gets a copy."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from contextlib import closing

import pytest
from aiohttp import web
from inputs import requests
from processes import System
from scripted import Scripted, Share, completion
from typer.testing import CliRunner

from batchline.cli.main import app

LINES = 300
STEPS = (50, 100, 150)  # of the batch under way: settled one after another, so in a segment each


class Directory:
    """A data directory to be damaged, looked at and repaired."""

    def __init__(self, folder, ids):
        self.folder = folder  # holds data/, as `System` wants it
        self.data = folder / "data"
        self.ids = ids

    def sql(self, text, *params):
        """Run one statement on the database, as somebody with a shell would."""
        with closing(sqlite3.connect(self.data / "batchline.sqlite3")) as connection, connection:
            return connection.execute(text, params).fetchall()

    def blob(self, key):
        return self.data / "blobs" / key

    def segments(self):
        """The segments of the batch under way: (number, path, offset, length)."""
        rows = self.sql(
            "SELECT s.id, s.key, s.offset_bytes, s.length_bytes FROM segments s "
            "JOIN batches b ON b.seq = s.batch_seq WHERE b.id = ? ORDER BY s.id",
            self.ids["running"],
        )
        return [(number, self.blob(key), offset, length) for number, key, offset, length in rows]

    def batch(self, name):
        """The row of a batch by the name of its part in this directory."""
        with closing(sqlite3.connect(self.data / "batchline.sqlite3")) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(
                "SELECT * FROM batches WHERE id = ?", [self.ids[name]]
            ).fetchone()

    def fsck(self, *options):
        """Return (exit code, what --json says)."""
        done = CliRunner().invoke(app, ["fsck", str(self.data), "--json", *options])
        return done.exit_code, json.loads(done.stdout)

    def found(self, *options, level="wrong"):
        """What it finds wrong, as (check, subject)."""
        _, report = self.fsck(*options)
        return [(f["check"], f["subject"]) for f in report["findings"] if f["level"] == level]

    def repaired(self):
        """Repair, and see that nothing is wrong afterwards; return what was repaired."""
        code, report = self.fsck("--repair")
        assert (code, report["ok"]) == (0, True), report
        assert self.found() == []
        return report["repaired"]


async def _answer(body, attempt):
    return web.json_response(completion(body["tag"]))


class Partly(Share):
    """Answers one line in ten with an error."""

    def answer(self, number, body):
        if number % 10 == 3:
            return web.json_response({"error": {"message": "no"}}, status=400)
        return super().answer(number, body)


async def _make(folder):
    async with Scripted() as upstream:
        system = System(folder, upstream.url, max_in_flight=16, lease_s=5)

        def until_finished(batch, least):
            return system.until(
                batch,
                lambda b: b.request_counts.completed + b.request_counts.failed >= least,
            )

        def drive():
            system.start("gateway", "dispatcher")
            system.wait_ready()
            upstream.script = Partly(LINES)
            completed = system.ended(system.submit(requests(LINES)))
            upstream.script = Partly(40)
            cancelled = until_finished(system.submit(requests(LINES)), 40)
            system.client.batches.cancel(cancelled.id)
            cancelled = system.ended(cancelled)
            system.client.files.create(file=b"{}", purpose="user_data")
            upload = system.client.uploads.create(
                bytes=10, filename="x.jsonl", mime_type="text/plain", purpose="batch"
            )
            system.client.uploads.parts.create(upload.id, data=b"half")
            upstream.script = Partly(0)
            running = system.submit(requests(LINES))
            for lines in STEPS:
                upstream.script.many = lines
                until_finished(running, lines)
            for name in ("dispatcher", "gateway"):
                system.kill(name)
            return {
                "completed": completed.id,
                "cancelled": cancelled.id,
                "running": running.id,
                "upload": upload.id,
            }

        return await asyncio.to_thread(drive)


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template")
    return folder, asyncio.run(_make(folder))


@pytest.fixture
def directory(template, tmp_path):
    folder, ids = template
    shutil.copytree(folder / "data", tmp_path / "data")
    return Directory(tmp_path, ids)


@pytest.fixture
async def upstream():
    async with Scripted() as server:
        server.script = _answer
        yield server


@pytest.fixture
def finish(directory, upstream):
    """Start real processes on the directory and let the batch under way end; return (batch, output)."""

    async def finish(name="running"):
        system = System(directory.folder, upstream.url, max_in_flight=16, lease_s=5)

        def drive():
            system.start("gateway", "dispatcher")
            try:
                system.wait_ready()
                batch = system.ended(system.client.batches.retrieve(directory.ids[name]))
                return batch, *(system.results(batch) if batch.status != "failed" else ((), ()))
            finally:
                system.stop()

        return await asyncio.to_thread(drive)

    return finish
