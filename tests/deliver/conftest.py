"""A deliverer over a real store; receivers verify by its clock."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from datetime import datetime
from types import SimpleNamespace

import pytest
from clocks import MovedClock
from delivery_bench import LOOPBACK, DeliveryBench
from handler_bench import HandlerBench, survey_of
from receivers import Receiver

from batchline.webhooks.post import open_poster


@pytest.fixture
def clock():
    return MovedClock()


@pytest.fixture(autouse=True)
def _of_receivers(request, clock, monkeypatch):
    """The libraries refuse what is older than five minutes: they live by the same clock."""

    class Moved(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(clock.now(), tz)

    if "system" in request.fixturenames:
        return  # processes of their own live in real time
    monkeypatch.setattr("standardwebhooks.webhooks.datetime", Moved)
    monkeypatch.setattr("openai.lib._webhooks.time", SimpleNamespace(time=clock.now))


@pytest.fixture
async def receiver():
    async with Receiver() as server:
        yield server


@pytest.fixture
async def make_bench(store, clock, make_batch):
    """Make a bench; other words than these go to the poster."""
    async with AsyncExitStack() as stack:

        async def make(wanted=None, *, networks=LOOPBACK, over=store, **fields):
            poster = await stack.enter_async_context(open_poster(networks, **fields))
            made = DeliveryBench(over, clock, poster, make_batch, wanted)
            stack.push_async_callback(made.deliverer.finish)
            return made

        yield make


@pytest.fixture
async def make_handlers(store, blobs, clock, make_batch, tmp_path):
    """Make a bench whose deliverer runs handlers: the code of a folder's file, sections of a file."""
    async with AsyncExitStack() as stack:

        async def make(code="", *, sections=None, environment=os.environ):
            poster = await stack.enter_async_context(open_poster(LOOPBACK))
            found = await survey_of(tmp_path, code, sections=sections, environment=environment)
            assert found.faults == []
            made = HandlerBench(store, blobs, clock, poster, make_batch, found)
            stack.push_async_callback(made.deliverer.finish)
            return made

        yield make


@pytest.fixture
async def bench(make_bench):
    return await make_bench()
