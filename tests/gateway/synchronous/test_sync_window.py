"""The micro-batch window, on a clock that tests move."""

from __future__ import annotations

import asyncio

import pytest
from clocks import MovedClock
from waiting import turn, until

from gateway.synchronous.window import Gathering, Window


class TestDecision:
    """When a group is sent, by the times alone."""

    def test_a_group_is_sent_with_its_last_request(self):
        """The next one opens another."""
        window = Window(size=3, interval_s=1.0)

        assert [window.join(at) for at in (0.0, 0.1, 0.2, 0.3)] == [False, False, True, False]
        assert (window.count, window.ends_at) == (1, 1.3)

    def test_the_first_request_decides_how_long_a_group_waits(self):
        """Later ones prolong nothing."""
        window = Window(size=9, interval_s=1.0)

        window.join(10.0)
        window.join(10.9)

        assert window.ends_at == 11.0

    def test_a_request_that_comes_when_the_time_is_over_is_sent_with_its_group(self):
        """The timer may be late."""
        window = Window(size=9, interval_s=1.0)

        assert [window.join(at) for at in (10.0, 11.0)] == [False, True]

    @pytest.mark.parametrize(("size", "interval_s"), [(1, 9.0), (9, 0.0)])
    def test_without_a_window_each_is_sent_at_once(self, size, interval_s):
        """As it is by default."""
        window = Window(size=size, interval_s=interval_s)

        assert [window.join(0.0) for _ in range(3)] == [True, True, True]

    def test_a_request_that_gives_up_does_not_count(self):
        """And a group without any is none."""
        window = Window(size=2, interval_s=1.0)
        window.join(0.0)

        window.leave()

        assert window.ends_at is None
        assert [window.join(5.0), window.join(5.0)] == [False, True]


@pytest.fixture
def clock():
    return MovedClock()


def gathering(clock, **window):
    return Gathering(Window(**window), clock)


async def joined(gathering, count=1):
    """Let so many requests wait; return their tasks."""
    tasks = [asyncio.create_task(gathering.wait()) for _ in range(count)]
    await turn()
    return tasks


def done(tasks):
    return sum(task.done() for task in tasks)


async def test_requests_are_sent_exactly_when_the_interval_has_passed(clock):
    """Not a moment sooner, and all at once."""
    gathered = gathering(clock, size=9, interval_s=2.0)
    tasks = await joined(gathered)
    clock.advance(1.5)
    tasks += await joined(gathered, 2)

    clock.advance(0.5 - 1 / 1024)
    await turn(10)
    before = done(tasks)
    clock.advance(1 / 1024)
    await until(lambda: done(tasks) == 3, saw=lambda: done(tasks))

    assert before == 0


async def test_a_full_group_is_sent_without_waiting(clock):
    """What is left waits its own time."""
    tasks = await joined(gathering(clock, size=2, interval_s=2.0), 5)

    await until(lambda: done(tasks) == 4, saw=lambda: done(tasks))
    clock.advance(2.0)
    await asyncio.gather(*tasks)


async def test_the_next_group_waits_its_own_time(clock):
    """The timer of a group that was full does not end it."""
    gathered = gathering(clock, size=2, interval_s=2.0)
    first = await joined(gathered, 2)
    clock.advance(1.0)
    second = await joined(gathered)
    await asyncio.gather(*first)

    clock.advance(1.5)
    await turn(10)
    before = done(second)
    clock.advance(0.5)
    await asyncio.gather(*second)

    assert before == 0


async def test_requests_that_give_up_leave_nothing(clock):
    """No timer, and no place in the group."""
    gathered = gathering(clock, size=2, interval_s=2.0)
    (task,) = await joined(gathered)
    task.cancel()
    await asyncio.wait([task])

    (alone,) = await joined(gathered)
    (last,) = await joined(gathered)
    await asyncio.gather(alone, last)

    await until(lambda: len(asyncio.all_tasks()) == 1, saw=asyncio.all_tasks)
