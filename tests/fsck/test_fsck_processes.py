"""fsck and the running processes: what was repaired goes on, and nobody is disturbed by looking."""

from __future__ import annotations

import asyncio
import fcntl

from inputs import requests
from processes import System
from test_fsck_damage import SEGMENTS, SEQ
from typer.testing import CliRunner

from batchline.cli.failure import ExitCode
from batchline.cli.main import app
from batchline.store.database.schema import known_schema


def everything(directory):
    """Damage of most kinds at once."""
    SEGMENTS["a byte of a segment is wrong"][0](directory)
    directory.sql(f"DELETE FROM slices WHERE {SEQ} AND first >= 128")
    directory.sql(f"UPDATE slices SET count = 65 WHERE {SEQ} AND first = 0")
    directory.sql(f"UPDATE segments SET lines_before = 7 WHERE {SEQ}")
    directory.sql("UPDATE batches SET completed = 1, failed = 0 WHERE status = 'in_progress'")


async def test_a_repaired_batch_goes_on_and_ends_with_each_line_once(directory, finish, upstream):
    """Results that were whole are kept; only the others are sent."""
    everything(directory)
    await asyncio.to_thread(directory.repaired)
    kept = directory.batch("running")["completed"] + directory.batch("running")["failed"]

    batch, output, errors = await finish()

    assert batch.status == "completed"
    assert len(output) + len(errors) == batch.request_counts.total == 300
    assert kept > 0
    assert sum(upstream.seen.values()) == 300 - kept
    assert await asyncio.to_thread(directory.found) == []


async def test_a_drained_batch_whose_results_are_damaged_is_reopened(directory, finish, upstream):
    """It was about to be published; the lines that are lost run again first."""
    system = System(directory.folder, upstream.url, max_in_flight=16)

    def drain():
        system.start("dispatcher", failpoints="publish.rows=crash")
        system.processes.pop("dispatcher").wait(60)

    await asyncio.to_thread(drain)
    assert directory.batch("running")["status"] == "finalizing"
    SEGMENTS["a byte of a segment is wrong"][0](directory)
    await asyncio.to_thread(directory.repaired)

    assert directory.batch("running")["status"] == "in_progress"
    batch, output, errors = await finish()

    assert (batch.status, len(output) + len(errors)) == ("completed", 300)


def test_repair_wants_the_directory_to_itself(directory):
    """It says whom to stop, and touches nothing."""
    directory.sql("UPDATE tokens SET last = 0")
    for part in ("gateway", "dispatcher", "deliverer"):
        name, who = f"{part}.lock", f"A {part}"
        with (directory.data / name).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            done = CliRunner().invoke(app, ["fsck", str(directory.data), "--repair"])

        assert done.exit_code == ExitCode.USAGE
        assert f"{who} works on" in done.stderr
    assert directory.sql("SELECT last FROM tokens") == [(0,)]


async def test_looking_beside_running_processes_finds_nothing_wrong(directory, upstream):
    """While batches run, end and are deleted, again and again."""
    system = System(directory.folder, upstream.url, max_in_flight=16)

    def drive():
        system.start("gateway", "dispatcher")
        try:
            system.wait_at_work(2)
            reports, batches = [], []
            for _ in range(4):
                batches.append(system.submit(requests(400)))
                system.client.files.delete(batches[-1].input_file_id)
                reports.append(directory.fsck())
            for batch in batches:
                ended = system.ended(batch)
                system.client.files.delete(ended.output_file_id)
                reports.append(directory.fsck())
            return reports
        finally:
            system.stop()

    reports = await asyncio.to_thread(drive)

    assert [(code, r["findings"]) for code, r in reports if code] == []
    assert {tuple(r["at_work"]) for _, r in reports} == {("a dispatcher", "a gateway")}
    assert directory.sql("SELECT role FROM roles WHERE role LIKE 'keep/%'") == []


def test_a_database_that_cannot_be_written_beside_a_process_is_read_all_the_same(directory):
    """That is no damage: what housekeeping may delete meanwhile is said, and no backup is asked for."""
    directory.sql("ALTER TABLE roles RENAME TO roles_once")
    directory.sql("CREATE VIEW roles AS SELECT * FROM roles_once")  # to be read, not written
    with (directory.data / "gateway.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        code, report = directory.fsck()

    assert (code, report["at_work"]) == (ExitCode.OK, ["a gateway"])
    told = next(f for f in report["findings"] if f["check"] == "processes")
    assert "a gateway may delete bytes meanwhile: " in told["detail"]
    assert {f["level"] for f in report["findings"] if f["check"] == "database"} == {"ok"}


def test_a_newer_database_is_refused(directory):
    """By name, with what to do."""
    directory.sql(f"PRAGMA user_version = {known_schema() + 1}")

    done = CliRunner().invoke(app, ["fsck", str(directory.data)])

    assert done.exit_code == ExitCode.USAGE
    assert "newer" in done.stderr


def test_a_folder_without_a_database_is_refused(tmp_path):
    """Nothing was proved, so it is no success."""
    done = CliRunner().invoke(app, ["fsck", str(tmp_path)])

    assert done.exit_code == ExitCode.USAGE
    assert "no database" in done.stderr


def test_a_database_that_may_not_be_read_is_no_damage(tmp_path):
    """Nothing was proved, and a backup would not help."""
    (tmp_path / "batchline.sqlite3").mkdir()

    done = CliRunner().invoke(app, ["fsck", str(tmp_path)])

    assert done.exit_code == ExitCode.USAGE
    assert "cannot be read" in done.stderr
