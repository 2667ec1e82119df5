"""A data directory of the past, a dispatcher of today, processes of both."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import asynccontextmanager

import pytest
from bench import Bench
from ports import free_port
from scripted import Scripted

from batchline.store import open_store


@pytest.fixture
async def upstream():
    async with Scripted() as server:
        yield server


@pytest.fixture
def make_bench(tmp_path, blobs, upstream):
    @asynccontextmanager
    async def make():
        async with open_store(
            tmp_path / "batchline.sqlite3", clock_ms=lambda: int(time.time() * 1000)
        ) as store:
            yield Bench(store, blobs, tmp_path, upstream)

    return make


@pytest.fixture
def command_runner(tmp_path):
    def run(*arguments):
        environment = os.environ | {
            "BATCHLINE_DATA_DIR": str(tmp_path / "data"),
            "BATCHLINE_PORT": str(free_port()),
            "BATCHLINE_DISPATCHER_PORT": str(free_port()),
        }
        return subprocess.run(
            [sys.executable, "-m", "batchline.cli.main", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run
