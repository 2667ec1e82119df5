"""A real dashboard on a real port, over a scripted view and a clock that a test moves."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from scene import NOW, Disk, Stage

from batchline.metrics import Metrics
from dashboard.app import add_dashboard


@pytest.fixture
def clock(clock):
    clock.at = NOW
    return clock


@pytest.fixture
def stage():
    return Stage()


@pytest.fixture
def put(stage, clock):
    """Set what the dashboard will see next, a second later."""

    def _put(seen):
        stage.seen = seen
        clock.advance(1)

    return _put


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
async def client(stage, metrics, clock):
    app = web.Application()
    add_dashboard(
        app, view=stage, metrics=metrics, blobs=Disk(), clock=clock, document=dict, max_viewers=3
    )
    async with TestClient(TestServer(app)) as client:
        yield client
