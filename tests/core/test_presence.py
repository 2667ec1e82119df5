"""Who works on a data directory: told by locks that go with their process."""

from __future__ import annotations

import asyncio

import pytest

from batchline.errors import Conflict
from batchline.process.presence import DISPATCHER_LOCK, at_work, present, to_oneself
from dispatcher.alone import alone


async def test_gateways_share_and_are_seen(tmp_path):
    """Any number at a time."""
    stop = asyncio.Event()
    async with present(tmp_path, stop) as first, present(tmp_path, stop) as second:
        assert (first, second) == (True, True)
        assert at_work(tmp_path) == ["a gateway"]
        with pytest.raises(Conflict, match="A gateway works on"), to_oneself(tmp_path):
            pass

    assert at_work(tmp_path) == []


async def test_the_dispatcher_is_seen_by_its_own_lock(tmp_path):
    """Both modules mean the same file."""
    async with alone(tmp_path / DISPATCHER_LOCK, asyncio.Event()):
        assert at_work(tmp_path) == ["a dispatcher"]
        with pytest.raises(Conflict, match="A dispatcher works on"), to_oneself(tmp_path):
            pass


async def test_a_gateway_waits_for_whoever_has_the_directory_to_himself(tmp_path, caplog):
    """It says so, and begins when the other is done."""
    begun = asyncio.Event()

    async def gateway():
        async with present(tmp_path, asyncio.Event()) as is_there:
            assert is_there
            begun.set()

    with to_oneself(tmp_path):
        task = asyncio.ensure_future(gateway())
        while "fsck --repair' works on" not in caplog.text:
            await asyncio.sleep(0)
        assert not begun.is_set()
    await asyncio.wait_for(task, 60)


async def test_a_gateway_that_is_stopped_while_it_waits_does_not_begin(tmp_path):
    """Its stop is not held up."""
    stop = asyncio.Event()
    stop.set()

    async with present(tmp_path, stop) as is_there:
        assert not is_there
