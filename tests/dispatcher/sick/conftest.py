"""Servers, alone or two of them behind nginx, whose scripts answer canaries, too."""

from __future__ import annotations

import pytest
from sickbed import two_servers


@pytest.fixture
def upstream(upstream):
    upstream.is_sick = True
    return upstream


@pytest.fixture
async def fleet(bench, tmp_path):
    async with two_servers(bench, tmp_path / "nginx") as made:
        yield made
