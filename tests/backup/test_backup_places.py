"""Where a backup may go, and what it says when it cannot be made or the source lacks something."""

from __future__ import annotations

import asyncio
import fcntl
import json
import shutil
from types import SimpleNamespace

import pytest

from batchline.blobs.keys import file_key
from batchline.cli.failure import ExitCode
from batchline.model import File
from batchline.store import open_store


@pytest.fixture
async def data(tmp_path, clock, blobs):
    """A data directory with two files."""
    async with open_store(tmp_path / "batchline.sqlite3", clock_ms=clock.ms) as store:
        for name in ("file-a", "file-b"):
            writer = blobs.create(file_key(name))
            await writer.write(name.encode())
            await writer.commit()
            await store.add_file(File(name, 6, 1, None, "x.bin", "user_data", file_key(name)))
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "batchline.sqlite3").rename(folder / "batchline.sqlite3")
    (tmp_path / "blobs").rename(folder / "blobs")
    return folder


@pytest.fixture
def run(command, data):
    return lambda target, *more: command("backup", target, "--data", data, *more)


async def test_a_backup_of_a_directory_that_nobody_works_on(run, data, tmp_path):
    """It is made the same way, and tells what it holds."""
    target = tmp_path / "new" / "there"
    code, report, _ = await in_thread(run, target)

    assert code == ExitCode.OK
    assert report["files"] == 3
    assert report["bytes"] == 12 + (target / "batchline.sqlite3").stat().st_size
    assert (target / "blobs" / file_key("file-b")).read_bytes() == b"file-b"
    manifest = json.loads((target / "backup.json").read_text())
    assert manifest["blobs"] == 2
    assert manifest["missing"] == []
    assert not list(target.rglob("*-wal"))


async def test_what_the_source_lacks_is_named_and_the_rest_is_saved(run, data, tmp_path):
    """The exit code says that something is wrong."""
    (data / "blobs" / file_key("file-a")).unlink()
    (data / "blobs" / file_key("file-b")).write_bytes(b"file")

    code, report, _ = await in_thread(run, tmp_path / "there")

    assert code == ExitCode.ENDED_BADLY
    assert set(report["missing"]) == {file_key("file-a"), file_key("file-b")}
    assert (tmp_path / "there" / "blobs" / file_key("file-b")).read_bytes() == b"file"


@pytest.mark.parametrize("place", ["data/inside", "data", ".", "full", "file"])
async def test_a_place_that_would_mix_things_up_is_refused(run, data, tmp_path, place):
    """Nothing is written."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))

    code, report, errors = await in_thread(run, tmp_path / place)

    assert (code, report) == (ExitCode.USAGE, None)
    assert place in errors
    assert sorted(tmp_path.rglob("*")) == before


async def test_two_backups_into_one_place_are_refused(run, tmp_path):
    """The second says why."""
    with (tmp_path / ".there.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, errors = await in_thread(run, tmp_path / "there")

    assert code == ExitCode.USAGE
    assert "under way" in errors


async def test_too_little_room_is_told_before_anything_is_copied(run, data, tmp_path, monkeypatch):
    """The space that batchline keeps free is not used up either."""
    usage = SimpleNamespace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)

    code, _, errors = await in_thread(run, tmp_path / "there")

    assert code == ExitCode.UNREACHABLE
    assert "kept free" in errors
    assert not (tmp_path / "there").exists()


async def test_a_folder_without_a_database_is_refused(command, tmp_path):
    """An empty backup would be worse than none."""
    code, _, errors = await in_thread(command, "backup", tmp_path / "x", "--data", tmp_path / "y")

    assert code == ExitCode.USAGE
    assert "no database" in errors


async def in_thread(function, *arguments):
    """Call what runs a loop of its own."""
    return await asyncio.to_thread(function, *arguments)
