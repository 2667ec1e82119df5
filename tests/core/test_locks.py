"""Who works on a data directory: told by locks that go with their process."""

from __future__ import annotations

import asyncio

import pytest
from waiting import turn, until

from batchline.errors import Conflict, StoreUnavailable
from batchline.process.locks import (
    DELIVERER_LOCK,
    SUPERVISOR_LOCK,
    at_work,
    is_left_behind,
    only_dispatcher,
    present,
    supervising,
    to_oneself,
)


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
    """Whoever must have the directory to himself is refused meanwhile."""
    async with only_dispatcher(tmp_path, asyncio.Event()):
        assert at_work(tmp_path) == ["a dispatcher"]
        with pytest.raises(Conflict, match="A dispatcher works on"), to_oneself(tmp_path):
            pass


async def test_deliverers_are_seen_by_a_lock_that_they_share(tmp_path):
    """Several may run; none while somebody has the directory to himself."""
    stop = asyncio.Event()
    async with (
        present(tmp_path, stop, name=DELIVERER_LOCK) as first,
        present(tmp_path, stop, name=DELIVERER_LOCK) as second,
    ):
        assert (first, second) == (True, True)
        assert at_work(tmp_path) == ["a deliverer"]
        with pytest.raises(Conflict, match="A deliverer works on"), to_oneself(tmp_path):
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
        await until(lambda: "fsck --repair' works on" in caplog.text)
        assert not begun.is_set()
    await asyncio.wait_for(task, 60)


async def test_a_gateway_that_is_stopped_while_it_waits_does_not_begin(tmp_path):
    """Its stop is not held up."""
    stop = asyncio.Event()
    stop.set()

    async with present(tmp_path, stop) as is_there:
        assert not is_there


async def test_a_second_dispatcher_waits_until_the_first_is_gone(tmp_path):
    """A standby takes over when the lock is free."""
    order = []
    first_in, leave = asyncio.Event(), asyncio.Event()

    async def hold(name, end):
        async with only_dispatcher(tmp_path, asyncio.Event()) as mine:
            order.append((name, mine))
            first_in.set()
            await end.wait()

    first = asyncio.ensure_future(hold("first", leave))
    await first_in.wait()
    second = asyncio.ensure_future(hold("second", leave))
    await turn()
    assert order == [("first", True)]
    leave.set()
    await asyncio.wait_for(asyncio.gather(first, second), 60)
    assert order == [("first", True), ("second", True)]


async def test_a_stopped_standby_leaves_without_the_lock(tmp_path):
    """SIGTERM ends the waiting too."""
    stop = asyncio.Event()
    async with only_dispatcher(tmp_path, asyncio.Event()):
        stop.set()
        async with only_dispatcher(tmp_path, stop) as mine:
            assert mine is False


def test_a_supervisor_that_is_at_work_has_left_nobody_behind(tmp_path):
    """Nor has one that never was, or has ended."""
    assert not is_left_behind(tmp_path)
    with supervising(tmp_path):
        pass

    assert not is_left_behind(tmp_path)


@pytest.mark.parametrize("use", [at_work, is_left_behind])
def test_a_lock_that_cannot_be_opened_is_named(tmp_path, use):
    for name in (DELIVERER_LOCK, SUPERVISOR_LOCK):
        (tmp_path / name).mkdir()

    with pytest.raises(StoreUnavailable, match="the lock file"):
        use(tmp_path)
