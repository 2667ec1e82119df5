"""Temporary files belong to living processes; folders are listed in pieces and vanish when empty."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from itertools import chain

from batchline.blobs import open_blobs
from batchline.blobs.folders import create_claimed, drop_abandoned, move

WRITER = """
import asyncio, os, sys
from batchline.blobs import open_blobs
from pathlib import Path

async def main():
    writer = open_blobs(Path(sys.argv[1])).create("files/ab/x")
    await writer.write(b"x" * (1 << 20))
    print("written", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


async def write(blobs, key, data=b"x"):
    writer = blobs.create(key)
    await writer.write(data)
    await writer.commit()


def temporary(tmp_path):
    return list((tmp_path / "blobs" / "tmp").iterdir())


async def listed(blobs, prefix, at_once=500):
    return [piece async for piece in blobs.keys(prefix, at_once=at_once)]


async def test_a_temporary_file_lives_as_long_as_its_process_and_no_longer(tmp_path, blobs):
    """However old it is: the kernel says whether the writer still runs."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "blobs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()

    assert await blobs.drop_abandoned(at_most=9) == (0, 0)
    process.kill()
    process.communicate()

    assert await blobs.drop_abandoned(at_most=9) == (1, 1 << 20)
    assert temporary(tmp_path) == []


async def test_a_writer_of_this_process_is_never_disturbed(tmp_path, blobs):
    """A slow upload keeps its bytes through any number of sweeps."""
    writer = blobs.create("files/ab/slow")
    await writer.write(b"x" * (2 << 20))

    assert await open_blobs(tmp_path / "blobs").drop_abandoned(at_most=9) == (0, 0)
    await writer.commit()

    assert await blobs.size("files/ab/slow") == 2 << 20
    assert temporary(tmp_path) == []


def test_a_file_swept_before_it_is_claimed_is_made_again(tmp_path, monkeypatch):
    """The sweep may win the instant between creation and claim: the writer notices."""
    target = tmp_path / "x"
    swept = []

    def sweep_first(file, how):
        if not swept:
            swept.append(True)
            target.unlink()

    monkeypatch.setattr("batchline.process.file_lock.fcntl.flock", sweep_first)

    with create_claimed(target) as file:
        file.write(b"whole")

    assert target.read_bytes() == b"whole"


def test_sweeping_is_bounded(tmp_path):
    """No call deletes more than it was allowed to."""
    for number in range(5):
        (tmp_path / str(number)).write_bytes(b"ab")

    assert [drop_abandoned(tmp_path, at_most=2)[0] for _ in range(4)] == [2, 2, 1, 0]


async def test_keys_come_in_pieces_and_only_below_the_prefix(blobs):
    """Each key once; no piece is larger than asked for."""
    for number in range(7):
        await write(blobs, f"files/{number % 3}/f{number}")
    await write(blobs, "results/b/output.jsonl")

    pieces = await listed(blobs, "files/", at_once=3)

    assert [len(p) for p in pieces] == [3, 3, 1]
    assert sorted(chain(*pieces)) == sorted(f"files/{n % 3}/f{n}" for n in range(7))
    assert await listed(blobs, "uploads/") == []


async def test_an_emptied_folder_goes_with_its_last_file(tmp_path, blobs):
    """A batch that is forgotten leaves no folder behind."""
    await write(blobs, "results/b/output.jsonl")
    await write(blobs, "results/b/error.jsonl")

    await blobs.delete("results/b/output.jsonl")
    assert (tmp_path / "blobs/results/b").is_dir()
    await blobs.delete("results/b/error.jsonl")

    assert list((tmp_path / "blobs/results").iterdir()) == []


def test_a_move_survives_that_its_folder_is_removed_meanwhile(tmp_path, monkeypatch):
    """Another process deletes the last file of the folder just before the rename."""
    source, target = tmp_path / "tmp", tmp_path / "ab" / "x"
    source.write_bytes(b"x")
    replace, meddled = type(source).replace, []

    def meddle(path, to):
        if not meddled:
            meddled.append(True)
            to.parent.rmdir()
        return replace(path, to)

    monkeypatch.setattr(type(source), "replace", meddle)
    move(source, target)

    assert target.read_bytes() == b"x"


async def test_a_folder_is_not_deleted_while_a_segment_is_appended(tmp_path, blobs, monkeypatch):
    """Late results of an ended batch race its garbage: neither breaks the other."""
    deleting = threading.Thread(target=blobs._delete, args=("segments/b/",))
    sync, was_waiting = os.fdatasync, []

    def sync_while_deleting(descriptor):
        deleting.start()
        deleting.join(0.1)
        was_waiting.append(deleting.is_alive())
        sync(descriptor)

    monkeypatch.setattr("batchline.blobs.local.os.fdatasync", sync_while_deleting)
    await blobs.put_segment("segments/b/", [(0, b"{}\n")])
    deleting.join()

    assert was_waiting == [True]
    assert not (tmp_path / "blobs/segments/b").exists()
