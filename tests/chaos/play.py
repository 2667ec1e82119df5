"""Plays one schedule against the real processes and records what was seen. Judges nothing."""

from __future__ import annotations

import asyncio
import math
import resource
import signal
import time
import traceback
from contextlib import AsyncExitStack
from pathlib import Path

from waiting import pass_time, until

from . import audit, handling
from .acts import back_up, perform
from .client import Owner, list_all, look_at_everything
from .crew import fired
from .history import Disturbance, History, Result
from .schedule import BatchPlan, Schedule
from .stage import Stage

LIMIT_S = 60.0
"""A history that takes longer hangs, on a machine that is not busy otherwise."""
_SLOWEST = 5.0
_TICK_S = 0.05
_START_S = 2.0  # what it usually takes until everything stands
_BUSY_TICK_S = 0.5
_BUSY_S = 0.25  # half of the time
_LOOK_S = 0.25
_HOUSEKEEPING_S = 20.0
_UNDER_WAY_S = 1.5  # an attempt at a receiver that is slow ends by then
_HOURS_S = 3 * 3600
_ROUNDS = 8
"""So often may attempts at the same delivery fail, or be cut, when all else is over."""


def play(schedule: Schedule, folder: Path) -> History:
    """Play it in `folder`, which must be empty; return what was seen."""
    return asyncio.run(Play(Stage(schedule, folder)).run())


class Play:
    """One history under way on its stage."""

    def __init__(self, stage):
        self.stage = stage
        self.history = stage.history
        self.schedule = stage.schedule

    async def run(self):
        """Play and record; a history that hangs or breaks says so in `stuck`."""
        used = _cpu_s()
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(LIMIT_S) as limit:
                    await self.stage.open(stack)
                    self._begin(limit)
                    await self._perform()
                    await self._leave()
            except TimeoutError:
                why = f"it did not end within {LIMIT_S * self.stage.slowness:.0f} s"
                self.history.stuck = f"{why}\n{self.stage.state()}"
            except Exception:  # noqa: BLE001 - a broken history is a failure of its seed
                self.history.stuck = f"{traceback.format_exc()}\n{self.stage.state()}"
        self.history.handled = self.stage.handled()
        self.history.logs = self.stage.logs()
        self.history.fired = fired(self.history.logs)
        self.history.results = {owner.plan.name: owner.result for owner in self.stage.owners}
        self.history.wall_s = time.monotonic() - self.stage.began_at
        self.history.cpu_s = _cpu_s() - used
        return self.history

    # -- the history itself

    def _begin(self, limit):
        """Take the time that opening took for how slow this machine is at present."""
        self.stage.works_since = time.monotonic()
        took_s = self.stage.works_since - self.stage.began_at
        self.stage.slowness = min(max(1.0, took_s / _START_S), _SLOWEST)
        limit.reschedule(asyncio.get_running_loop().time() + LIMIT_S * self.stage.slowness)

    async def _perform(self):
        watching = [
            asyncio.create_task(task)
            for task in (
                look_at_everything(self.stage.client, self.stage.owners, self.stage.over),
                self._look_at_rows(),
                self._notice_being_busy(),
            )
        ]
        acting = [asyncio.create_task(perform(self.stage, act)) for act in self.schedule.acts]
        if self.schedule.backup_at is not None:
            acting.append(asyncio.create_task(back_up(self.stage, self.schedule.backup_at)))
        try:
            async with asyncio.TaskGroup() as clients:
                for plan in self.schedule.batches:
                    clients.create_task(self._live(plan))
            await asyncio.gather(*acting)
        finally:
            self.stage.over.set()
            for task in acting:
                task.cancel()
            await asyncio.gather(*acting, return_exceptions=True)
            await asyncio.wait(watching, timeout=30)

    async def _live(self, plan):
        self.stage.witness.plans[plan.name] = plan
        await self.stage.until(plan.begins_at, latest_s=2.0)
        owner = Owner.of(
            self.stage.client,
            self.stage.witness,
            plan,
            callback_url=self.stage.callback_url(plan.name),
        )
        self.stage.owners.append(owner)
        await owner.submit()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(owner.steer())
            tasks.create_task(owner.add())
            await owner.until_over()
        await owner.fetch()
        if plan.retried and not owner.is_gone and owner.result.error:
            await self._retry(owner)
        if plan.deleted and not owner.is_gone:
            await owner.delete()

    async def _retry(self, owner):
        failed = {line["custom_id"] for line in owner.result.error}
        lines = [
            pair
            for pair in zip(owner.result.custom_ids, owner.result.tags, strict=True)
            if pair[0] in failed
        ]
        name = f"{owner.plan.name}-again"
        plan = BatchPlan(name, len(lines))
        again = Owner(
            self.stage.client,
            self.stage.witness,
            plan,
            Result(name, "", [pair[0] for pair in lines], [pair[1] for pair in lines]),
        )
        self.stage.disturb("retry", owner.plan.name)
        self.stage.owners.append(again)
        await again.retry(owner.result.batch_id)
        if not again.result.batch_id:  # refused: its bad answer is on record
            return
        await again.until_over()
        await again.fetch()

    # -- watching

    async def _look_at_rows(self):
        while not self.stage.over.is_set():
            await self.stage.look()
            await pass_time(_LOOK_S)

    async def _notice_being_busy(self):
        """Record when we, or a process of the system, waited long for a processor."""
        waited = dict.fromkeys(self.stage.kept, 0.0)
        while not self.stage.over.is_set():
            before = time.monotonic()
            await pass_time(_BUSY_TICK_S)
            late_s = time.monotonic() - before - _BUSY_TICK_S
            for name, kept in self.stage.kept.items():
                since, waited[name] = waited[name], kept.waited_s()
                late_s = max(late_s, waited[name] - since)
            if late_s > _BUSY_S:
                self._was_busy(before, time.monotonic())

    def _was_busy(self, since, until):
        known = [d for d in self.history.disturbances if d.kind == "busy"]
        if known and known[-1].ended_at > since - _BUSY_TICK_S:
            known[-1].ended_at = until
        else:
            self.history.disturbances.append(Disturbance("busy", "machine", since, until))

    # -- leaving

    async def _leave(self):
        await self._stop("second")
        dispatcher = self.stage.kept["dispatcher"]
        await dispatcher.is_up.wait()
        dispatcher.take_down(signal.SIGTERM, 0.0, self.schedule.last_failpoints)
        await pass_time(_TICK_S)
        await self._until_nothing_is_left(audit.housekeeping_left)
        if self.stage.clock is not None:
            await self._collect_orphans()
        await self._deliver_the_rest()
        self.history.listed = frozenset(await list_all(self.stage.client))
        for name in ("deliverer", "dispatcher", "gateway", "nginx"):
            await self._stop(name)
        self.history.at_rest = await asyncio.to_thread(audit.at_rest, self.stage.data)
        self.history.handlers_left = handling.still_alive(self.stage.handled())

    async def _until_nothing_is_left(self, of, *, by="dispatcher", within_s=_HOUSEKEEPING_S):
        """Wait for who takes it; how long it may take is bounded, what is left is judged."""
        due = time.monotonic() + within_s * self.stage.slowness
        while time.monotonic() < due:
            await self.stage.kept[by].is_up.wait()
            if not await asyncio.to_thread(of, self.stage.data):
                return
            await pass_time(_TICK_S)

    async def _deliver_the_rest(self):
        """Wait for what is due, then make due what waits for its next attempt, or for a lease to lapse."""
        for _ in range(_ROUNDS):
            await self._until_nothing_is_left(self._due, by="deliverer")
            await self._until_nothing_is_left(self._leased, by="deliverer", within_s=_UNDER_WAY_S)
            await until(lambda: not self.stage.handler_pid(), within_s=math.inf, every_s=_TICK_S)
            if not await asyncio.to_thread(audit.undelivered, self.stage.data):
                return
            await asyncio.to_thread(audit.make_deliveries_due, self.stage.data)

    def _due(self, data):
        return audit.undelivered(data, due_by=self.stage.wall_clock())

    def _leased(self, data):
        return audit.leased_deliveries(data, self.stage.wall_clock())

    async def _collect_orphans(self):
        """Start the dispatcher again hours later: what looked orphaned is, and goes."""
        await self._until_nothing_is_left(audit.unnoticed)
        self.stage.clock.jump(_HOURS_S - self.stage.clock.offset_s)
        dispatcher = self.stage.kept["dispatcher"]
        dispatcher.take_down(signal.SIGTERM)
        await pass_time(_TICK_S)
        await self._until_nothing_is_left(audit.unnamed)
        self.history.orphans_were_due = True

    async def _stop(self, name):
        kept = self.stage.kept[name]
        if kept._task is None:
            return
        now = time.monotonic()
        code = await kept.stop()
        self.history.disturbances.append(
            Disturbance("stopped", name, now, time.monotonic(), code=-999 if code is None else code)
        )


def _cpu_s():
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
