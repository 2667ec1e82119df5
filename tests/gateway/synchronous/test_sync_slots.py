"""Places in flight, shared among calls."""

from __future__ import annotations

import asyncio
from collections import Counter

from waiting import turn, until

from gateway.synchronous.slots import Slots


class Work:
    """Requests of calls, each of which ends when it is told to."""

    def __init__(self, slots):
        self.slots = slots
        self.begun = []
        self.ends = asyncio.Semaphore(0)
        self.in_flight = self.most = 0
        self.tasks = []

    async def _one(self, call):
        async with self.slots.one(call):
            self.begun.append(call)
            self.in_flight += 1
            self.most = max(self.most, self.in_flight)
            await self.ends.acquire()
            self.in_flight -= 1

    async def ask(self, call, count):
        tasks = [asyncio.create_task(self._one(call)) for _ in range(count)]
        self.tasks += tasks
        await turn()
        return tasks

    async def end(self, count):
        """End so many, and wait until as many others have begun."""
        wanted = len(self.begun) + count
        for _ in range(count):
            self.ends.release()
        await until(lambda: len(self.begun) == wanted, saw=lambda: self.begun)

    async def end_all(self):
        for _ in self.tasks:
            self.ends.release()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_no_more_are_in_flight_than_there_are_places():
    """However many wait; in the end all had one."""
    work = Work(Slots(3))

    await work.ask("a", 10)
    waiting = len(work.begun)
    await work.end_all()

    assert (waiting, work.most, len(work.begun)) == (3, 3, 10)


async def test_calls_take_turns():
    """A small call does not wait for the end of a large one."""
    work = Work(Slots(1))
    await work.ask("large", 100)
    await work.ask("small", 2)
    await work.ask("other", 1)

    await work.end(5)

    assert work.begun == ["large", "large", "small", "other", "large", "small"]
    await work.end_all()
    assert Counter(work.begun) == {"large": 100, "small": 2, "other": 1}


async def test_who_gives_up_takes_no_place():
    """Whether it waits, or was just given one."""
    work = Work(Slots(1))
    await work.ask("a", 1)
    waiting = await work.ask("b", 2)
    waiting[0].cancel()
    await turn()
    work.ends.release()
    await until(lambda: work.begun == ["a", "b"], saw=lambda: work.begun)
    (given,) = await work.ask("c", 1)
    waiting[1].cancel()
    given.cancel()
    await asyncio.wait([waiting[1], given])

    await work.ask("d", 1)

    assert work.begun == ["a", "b", "d"]
    await work.end_all()


async def test_a_place_given_to_one_that_gives_up_in_the_same_turn_is_not_lost():
    """It goes to the next."""
    slots = Slots(1)
    await slots._take("a")
    waiting = asyncio.create_task(slots._take("b"))
    await turn()

    slots._give()
    waiting.cancel()
    await asyncio.wait([waiting])

    await asyncio.wait_for(slots._take("c"), 60)


async def test_requests_that_give_up_leave_nothing():
    """However many come and go while no place is given."""
    work = Work(Slots(1))
    await work.ask("a", 1)

    for call in range(10):
        waiting = await work.ask(call, 100)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)

    assert not work.slots._waiting
    await work.end_all()
    assert work.begun == ["a"]
