"""Backups of real processes at work: each is a directory that goes on where it was made."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from inputs import requests
from processes import System
from scripted import Share, taking

from batchline.blobs.keys import file_key
from batchline.cli.failure import ExitCode

LINES = 1200


@pytest.mark.slow
async def test_each_backup_made_under_load_goes_on_and_ends_with_each_line_once(
    system, upstream, tmp_path, command
):
    """While lines are settled, batches end and files are uploaded and deleted all the time."""
    stop = threading.Event()
    share = Share(LINES - 10)
    upstream.script = taking(0.03, share)

    def churn():
        """Make garbage: files, and small batches with their results."""
        client = system.client
        while not stop.is_set():
            file = client.files.create(file=requests(3), purpose="batch")
            client.files.delete(file.id)
            small = system.ended(system.submit(requests(3)))
            for file_id in (small.input_file_id, small.output_file_id):
                client.files.delete(file_id)

    def drive():
        system.start("gateway", "dispatcher")
        system.wait_ready()
        batch = system.submit(requests(LINES))
        system.client.files.delete(batch.input_file_id)  # a batch keeps its input
        churning = threading.Thread(target=churn)
        churning.start()
        made = []
        try:
            for number, least in enumerate((1, LINES // 3, LINES // 2)):
                system.until(batch, lambda b, n=least: b.request_counts.completed >= n)
                folder = tmp_path / f"restored{number}"
                made.append((folder, command("backup", folder / "data", "--data", system.data)))
        finally:
            stop.set()
            churning.join()
        system.stop()
        share.many = LINES
        return batch, made

    def restored(folder, batch):
        """Bring one to its end."""
        assert command("fsck", folder / "data")[1]["ok"]
        before = completed(folder / "data", batch)
        other = System(folder, upstream.url, max_in_flight=64)
        try:
            other.start("gateway", "dispatcher")
            other.wait_ready()
            ended = other.ended(batch)
            results = other.results(ended)
        finally:
            other.stop()
        assert command("fsck", folder / "data")[1]["ok"]
        return before, ended, results

    batch, made = await asyncio.to_thread(drive)

    for folder, (code, report, errors) in made:
        assert (code, report and report["missing"]) == (ExitCode.OK, []), errors
        before, ended, (output, _) = await asyncio.to_thread(restored, folder, batch)
        assert ended.status == "completed"
        assert [line["custom_id"] for line in output] == [f"id-{i}" for i in range(LINES)]
        assert 0 < before < LINES


def completed(data, batch):
    with closing(sqlite3.connect(data / "batchline.sqlite3")) as db:
        ((lines,),) = db.execute("SELECT completed FROM batches WHERE id = ?", [batch.id])
    return lines


def run(system, folder, *, failpoints=""):
    """Start the command as a process of its own."""
    environment = system.environment | {"BATCHLINE_TEST_FAILPOINTS": failpoints}
    return subprocess.Popen(
        [sys.executable, "-m", "batchline.cli.main", "backup", str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def busy(system):
    """A data directory with one batch under way, at work."""

    def start():
        system.start("gateway", "dispatcher")
        system.wait_ready()
        batch = system.submit(requests(LINES))
        system.until(batch, lambda b: b.request_counts.completed > 0)
        return batch

    return start


@pytest.mark.parametrize("point", ["backup.snapshot", "backup.copied", "blob.written"])
async def test_a_backup_that_was_killed_is_none_and_the_next_one_succeeds(
    system, busy, tmp_path, command, point
):
    """Nothing stands under its name; what was left goes with the next."""

    def drive():
        busy()
        killed = run(system, tmp_path / "b" / "there", failpoints=f"{point}=crash")
        killed.communicate(timeout=60)
        left = [path.name for path in (tmp_path / "b").iterdir()]
        return (
            killed.returncode,
            left,
            command("backup", tmp_path / "b" / "there", "--data", system.data),
        )

    code, left, (again, report, _) = await asyncio.to_thread(drive)

    assert code == -9
    assert "there" not in left
    assert (again, report["missing"]) == (ExitCode.OK, [])
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["there"]


async def test_a_backup_that_fails_leaves_nothing(system, busy, tmp_path):
    """The disk refuses in the middle; it says so."""

    def drive():
        busy()
        failed = run(system, tmp_path / "b" / "there", failpoints="blob.written=error@2")
        _, errors = failed.communicate(timeout=60)
        return failed.returncode, errors

    code, errors = await asyncio.to_thread(drive)

    assert code == ExitCode.UNREACHABLE
    assert "failpoint blob.written" in errors
    assert list((tmp_path / "b").iterdir()) == []


async def test_bytes_deleted_while_a_backup_was_held_up_are_not_missed(
    system, busy, tmp_path, command
):
    """Its lease was over: a second moment no longer names them."""

    def drive():
        busy()
        doomed = system.client.files.create(file=b"x", purpose="user_data")
        held_up = run(system, tmp_path / "there", failpoints="backup.snapshot=sleep:3")
        assert any("failpoint backup.snapshot" in line for line in held_up.stderr)
        held_up.send_signal(signal.SIGSTOP)  # however long the rest takes
        with closing(sqlite3.connect(system.data / "batchline.sqlite3")) as connection, connection:
            connection.execute("DELETE FROM roles WHERE role LIKE 'keep/%'")
        system.client.files.delete(doomed.id)
        (system.data / "blobs" / file_key(doomed.id)).unlink()  # as the sweep does
        held_up.send_signal(signal.SIGCONT)
        held_up.communicate(timeout=60)
        return held_up.returncode, doomed

    code, doomed = await asyncio.to_thread(drive)

    assert code == ExitCode.OK
    assert not (tmp_path / "there" / "blobs" / file_key(doomed.id)).exists()
    assert (await asyncio.to_thread(command, "fsck", tmp_path / "there"))[1]["ok"]
