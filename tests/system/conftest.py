"""The real gateway and dispatcher as processes, over a scripted upstream."""

from __future__ import annotations

import pytest
from processes import System
from scripted import Scripted


@pytest.fixture
async def upstream():
    async with Scripted() as server:
        yield server


@pytest.fixture
def make_system(tmp_path, upstream):
    made = []

    def make(*, started=("gateway", "dispatcher"), **settings):
        url = settings.pop("upstream_url", upstream.url)
        system = System(tmp_path, url, **settings)
        made.append(system)
        system.start(*started)
        return system

    yield make
    for system in made:
        system.end()
