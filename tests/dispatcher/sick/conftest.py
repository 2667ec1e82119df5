"""Two servers behind nginx, one of which the test makes sick."""

from __future__ import annotations

import pytest
from sickbed import two_servers


@pytest.fixture
async def fleet(bench, tmp_path):
    async with two_servers(bench, tmp_path / "nginx") as made:
        yield made
