"""Logs of running programs stay bounded, and say what was said last."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import subprocess
import sys

import pytest
from waiting import until

from batchline.fleet.logs import OLD_LOGS, keep_bounded, turn_over

WRITER = """
import sys
number = 0
while True:
    print(f"line {number} " + "x" * 80, flush=True)
    number += 1
"""


def family(log):
    """The log and its old ones, the newest first."""
    return [log, *(log.with_name(f"{log.name}.{n}") for n in range(1, 10))]


def test_a_small_log_is_left_alone(tmp_path):
    """Up to the limit, and one that is not there yet."""
    log = tmp_path / "a.log"
    turn_over(log, most_bytes=10)
    log.write_bytes(b"x" * 10)

    turn_over(log, most_bytes=10)

    assert list(tmp_path.iterdir()) == [log]
    assert log.stat().st_size == 10


def test_old_logs_move_on_by_one_and_the_oldest_goes(tmp_path):
    """`.1` is the newest of them."""
    log = tmp_path / "a.log"
    for number in range(OLD_LOGS + 3):
        log.write_text(f"{number}" * 20)
        turn_over(log, most_bytes=10)

    assert log.read_text() == ""
    kept = [path.read_text()[0] for path in family(log)[1:] if path.exists()]
    assert kept == ["6", "5", "4", "3"]


def test_of_a_log_that_grew_fast_the_end_is_kept(tmp_path):
    """No old log is larger than twice the limit, whatever came before a look."""
    log = tmp_path / "a.log"
    log.write_bytes(b"old" * 1000 + b"end")

    turn_over(log, most_bytes=10)

    assert family(log)[1].read_bytes() == b"oldold"[-1:] + b"oldold" + b"end"


def test_a_full_disk_costs_the_old_words_and_no_more_room(tmp_path):
    """The log is emptied all the same; nothing half copied is left."""
    log = tmp_path / "a.log"
    log.write_bytes(b"x" * 100)

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, limits[1]))
    try:
        turn_over(log, most_bytes=10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert list(tmp_path.iterdir()) == [log]
    assert log.stat().st_size == 0


@pytest.fixture
def writer(tmp_path):
    """A program that writes as fast as it can into a file of its own, as the supervisor starts it."""
    log = tmp_path / "fast.log"
    with log.open("ab") as out:
        process = subprocess.Popen([sys.executable, "-c", WRITER], stdout=out, stderr=out)
    yield log
    process.kill()
    process.wait()


async def test_a_log_turns_over_while_its_program_writes(writer):
    """The program goes on at the beginning of the emptied file; what it wrote is still there."""
    keeping = asyncio.create_task(keep_bounded([writer], most_bytes=50_000, look_s=0.01))
    old = family(writer)

    await until(old[OLD_LOGS].exists)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)

    assert not old[OLD_LOGS + 1].exists()
    assert all(path.stat().st_size <= 100_000 for path in old[1 : OLD_LOGS + 1])
    lines = old[1].read_bytes().splitlines()
    assert len(lines) > 100
    assert b"\x00" not in old[1].read_bytes()
    numbers = [int(line.split()[1]) for line in lines[1:-1]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_a_log_that_cannot_be_turned_over_is_told_once(tmp_path, caplog, monkeypatch):
    """And the others still are."""
    bad, good = tmp_path / "bad.log", tmp_path / "good.log"
    bad.write_bytes(b"x" * 100)
    good.write_bytes(b"x" * 100)
    truncate, tries = os.truncate, []

    def refuse(path, size):
        if path == bad:
            tries.append(path)
            raise OSError(errno.EPERM, "Operation not permitted")
        truncate(path, size)

    monkeypatch.setattr(os, "truncate", refuse)
    keeping = asyncio.create_task(keep_bounded([bad, good], most_bytes=10, look_s=0.001))
    await until(lambda: len(tries) >= 3)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)

    assert good.stat().st_size == 0
    assert len([r for r in caplog.records if "cannot be turned over" in r.getMessage()]) == 1
