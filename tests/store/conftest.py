"""The engine that a test runs on, and a store of it."""

from __future__ import annotations

import pytest
from engines import ENGINES


@pytest.fixture(params=ENGINES)
def engine(request, tmp_path, clock):
    """One kind of database: each test of the contract runs on each."""
    return ENGINES[request.param](tmp_path, clock_ms=clock.ms)


@pytest.fixture
async def store(engine):
    engine.make_new()
    async with engine.open() as opened:
        yield opened
