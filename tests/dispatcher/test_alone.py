"""One dispatcher a data directory: the kernel's lock decides."""

from __future__ import annotations

import asyncio

from dispatcher.alone import alone


async def test_the_second_waits_until_the_first_is_gone(tmp_path):
    """A standby takes over when the lock is free."""
    order = []
    first_in, leave = asyncio.Event(), asyncio.Event()

    async def hold(name, until):
        async with alone(tmp_path / "lock", asyncio.Event()) as mine:
            order.append((name, mine))
            first_in.set()
            await until.wait()

    first = asyncio.ensure_future(hold("first", leave))
    await first_in.wait()
    second = asyncio.ensure_future(hold("second", leave))
    await asyncio.sleep(0)
    assert order == [("first", True)]
    leave.set()
    await asyncio.wait_for(asyncio.gather(first, second), 60)
    assert order == [("first", True), ("second", True)]


async def test_a_stopped_standby_leaves_without_the_lock(tmp_path):
    """SIGTERM ends the waiting too."""
    stop = asyncio.Event()
    async with alone(tmp_path / "lock", asyncio.Event()):
        stop.set()
        async with alone(tmp_path / "lock", stop) as mine:
            assert mine is False
