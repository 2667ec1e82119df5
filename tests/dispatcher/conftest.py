"""The bench of every test in this folder."""

from __future__ import annotations

from contextlib import closing

import pytest
from bench import Bench, opened
from scripted import Scripted

from batchline.blobs import open_blobs


@pytest.fixture
async def upstream():
    async with Scripted() as server:
        yield server


@pytest.fixture
async def bench(tmp_path, upstream):
    async with opened(tmp_path) as store:
        with closing(open_blobs(tmp_path / "blobs")) as blobs:
            yield Bench(store, blobs, tmp_path, upstream)
