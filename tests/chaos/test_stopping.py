"""Ctrl-C on `make chaos`: nothing of the histories under way is left, and what was played is reported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from living import is_alive, words_of
from waiting import wait_until

from batchline.process.locks import GATEWAY_LOCK
from chaos.draw import schedule

pytestmark = pytest.mark.chaos

ROOT = Path(__file__).parents[2]


def started_by(process):
    return psutil.Process(process.pid).children(recursive=True)


def has_nginx_workers(processes):
    """Workers outlive a master that was killed: nothing but the harness ends them."""
    return sum("nginx" in words_of(process)[:1] for process in processes) > 1


def data_under_way(processes):
    """The data directory of the history under way; None while no gateway runs (it is killed at times)."""
    for process in processes:
        with suppress(psutil.Error):  # it may end meanwhile
            opened = [Path(file.path) for file in process.open_files()]
            if lock := next((path for path in opened if path.name == GATEWAY_LOCK), None):
                return lock.parent
    return None


def test_ctrl_c_leaves_no_process_no_mount_and_no_folder(tmp_path):
    seed = next(seed for seed in range(1000) if schedule(seed).disk_mib)
    argv = ["--seeds", "2", "--from", str(seed), "--jobs", "1", "--out", str(tmp_path)]
    harness = subprocess.Popen(
        [sys.executable, "-m", "chaos", *argv],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        data = wait_until(
            lambda: has_nginx_workers(started_by(harness)) and data_under_way(started_by(harness))
        )
        started = started_by(harness)

        os.killpg(harness.pid, signal.SIGINT)
        said, _ = harness.communicate(timeout=60)
    finally:
        harness.kill()

    assert harness.returncode == 130
    assert "stopped after 0 of 2 histories" in said
    assert "failing seeds  none" in said
    wait_until(lambda: not any(map(is_alive, started)))
    assert not data.parents[1].exists()
    mounted = [Path(partition.mountpoint) for partition in psutil.disk_partitions(all=True)]
    assert data not in mounted
