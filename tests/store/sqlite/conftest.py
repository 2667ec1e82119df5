"""Tests of the engine itself run on no other."""

from __future__ import annotations

import pytest
from engines import Sqlite


@pytest.fixture
def engine(tmp_path, clock):
    return Sqlite(tmp_path, clock_ms=clock.ms)
