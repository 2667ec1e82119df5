"""Databases without rows, for tests that open a store: migrated once in a process, then copied.

Each migration is synced to the disk; together they take longer than most tests. What they do is tested in
tests/upgrade and tests/store/test_engine.py. All copies have the same identity.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from batchline.store import open_store


def new_database(path):
    """Put one where `open_store` would make it."""
    path.write_bytes(_empty())


@cache
def _empty():
    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as aside:  # a loop may run here
        path = Path(folder) / "empty.sqlite3"
        aside.submit(asyncio.run, _make(path)).result()
        return path.read_bytes()


async def _make(path):
    async with open_store(path, clock_ms=lambda: 0):
        pass
