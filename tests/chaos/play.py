"""Plays one schedule against the real processes and records what was seen. Judges nothing."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
import traceback
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from ports import free_port

from . import audit, clock, disk, front
from .client import Client, Owner, list_all, look_at_everything
from .crew import Kept, fired, product, run_command
from .faults import Fault
from .history import Backup, Disturbance, History, Result
from .schedule import Act, BatchPlan, Schedule, Verb
from .witness import Upstream, Witness

LIMIT_S = 90.0
"""A history that takes longer hangs."""
_TAIL_LINES = 25
_TICK_S = 0.05
_START_S = 2.0  # what it usually takes until everything stands
_FAILPOINT_S = 1.5
_BUSY_S = 0.5
_LOOK_S = 0.25
_HOUSEKEEPING_S = 20.0
_DISPATCHERS = ("dispatcher", "second")


def play(schedule: Schedule, folder: Path) -> History:
    """Play it in `folder`, which must be empty; return what was seen."""
    return asyncio.run(Stage(schedule, folder).run())


class Stage:
    """Everything of one history that has to be opened, moved and closed."""

    def __init__(self, schedule, folder):
        self.schedule = schedule
        self.folder = folder
        self.history = History(schedule)
        self.witness = Witness(schedule.latency_s, has_gauges=schedule.has_gauges)
        self.history.sends = self.witness.sends
        self.upstreams: list[Upstream] = []
        self.kept: dict[str, Kept] = {}
        self.owners: list[Owner] = []
        self.disk = None
        self.clock = None
        self.over = asyncio.Event()
        self.began_at = self._works_since = time.monotonic()
        self._slowness = 1.0
        """How much slower than usual this machine is at present: the latest moments of acts follow it."""

    async def run(self):
        """Play and record; a history that hangs or breaks says so in `stuck`."""
        used = _cpu_s()
        try:
            async with asyncio.timeout(LIMIT_S), AsyncExitStack() as stack:
                await self._open(stack)
                await self._perform()
                await self._leave()
        except TimeoutError:
            self.history.stuck = f"it did not end within {LIMIT_S:g} s\n{self._state()}"
        except Exception:  # noqa: BLE001 - a broken history is a failure of its seed
            self.history.stuck = f"{traceback.format_exc()}\n{self._state()}"
        self.history.logs = self._logs()
        self.history.fired = fired(self.history.logs)
        self.history.results = {owner.plan.name: owner.result for owner in self.owners}
        self.history.wall_s = time.monotonic() - self.began_at
        self.history.cpu_s = _cpu_s() - used
        return self.history

    # -- opening

    async def _open(self, stack):
        for number in range(self.schedule.upstreams):
            upstream = await stack.enter_async_context(Upstream(self.witness, number))
            self.upstreams.append(upstream)
        stack.push_async_callback(self._kill_all)
        stack.callback(self.witness.over.set)
        self._open_disk(stack)
        self._make_roles()
        self.client = Client(self._url, self.history.calls)
        stack.push_async_callback(self.client.close)
        self.kept["nginx"].start()
        await self.kept["nginx"].is_up.wait()
        first, *others = self._by_migration()
        armed = dict(self.schedule.failpoints)
        self.kept[first].start(armed.get(first, ""))
        if others and "migrate" in armed.get(first, ""):
            await self.kept[first].is_up.wait()
        for name in others:
            self.kept[name].start(armed.get(name, ""))
        for name in (first, *others):
            await self.kept[name].is_up.wait()

    def _by_migration(self):
        armed = dict(self.schedule.failpoints)
        names = ["gateway", "dispatcher"]
        return sorted(names, key=lambda name: "migrate" not in armed.get(name, ""))

    def _open_disk(self, stack):
        self.data = self.folder / "data"
        if not self.schedule.disk_mib:
            return
        if disk.may_mount(self.folder):
            self.disk = stack.enter_context(disk.Disk(self.data, self.schedule.disk_mib))
        else:
            self.history.played_without.append("a disk of its own (mounting is not permitted)")

    def _make_roles(self):
        nginx_port, gateway_port, ops_port, second_port = (free_port() for _ in range(4))
        self._url = f"http://127.0.0.1:{gateway_port}"
        environment = self._environment() | {
            "BATCHLINE_DATA_DIR": str(self.data),
            "BATCHLINE_PORT": str(gateway_port),
            "BATCHLINE_DISPATCHER_PORT": str(ops_port),
            "BATCHLINE_UPSTREAM_URL": f"http://127.0.0.1:{nginx_port}",
            "BATCHLINE_BACKEND_URLS": ",".join(f"http://{u.address}" for u in self.upstreams),
        }
        second = environment | {
            "BATCHLINE_DISPATCHER_PORT": str(second_port),
            "BATCHLINE_CELL": "rival" if self.schedule.second == "rival" else "local",
        }
        servers = [upstream.address for upstream in self.upstreams]
        log = self.folder
        roles = (
            front.nginx_role(servers, self.folder / "nginx", nginx_port),
            product("gateway", "gateway", environment, gateway_port, log / "gateway.log"),
            product("dispatcher", "dispatcher", environment, ops_port, log / "dispatcher.log"),
            product("second", "dispatcher", second, second_port, log / "second.log"),
        )
        for role in roles:
            on_death = self._look_after_death if role.name in _DISPATCHERS else None
            self.kept[role.name] = Kept(role, self.history.disturbances, on_death)

    def _environment(self):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BATCHLINE_")}
        if self.schedule.shifts_clock:
            if clock.library():
                self.clock = clock.WallClock(self.folder / "clock")
                kept |= self.clock.environment()
            else:
                self.history.played_without.append("clock jumps (libfaketime is not installed)")
        return kept | {f"BATCHLINE_{k.upper()}": v for k, v in self.schedule.settings}

    # -- the history itself

    async def _perform(self):
        self._works_since = time.monotonic()
        self._slowness = max(1.0, (self._works_since - self.began_at) / _START_S)
        watching = [
            asyncio.create_task(task)
            for task in (
                look_at_everything(self.client, self.owners, self.over),
                self._look_at_rows(),
                self._notice_being_busy(),
            )
        ]
        acting = [asyncio.create_task(self._act(act)) for act in self.schedule.acts]
        if self.schedule.backup_at is not None:
            acting.append(asyncio.create_task(self._back_up(self.schedule.backup_at)))
        try:
            async with asyncio.TaskGroup() as clients:
                for plan in self.schedule.batches:
                    clients.create_task(self._live(plan))
            await asyncio.gather(*acting)
        finally:
            self.over.set()
            for task in acting:
                task.cancel()
            await asyncio.gather(*acting, return_exceptions=True)
            await asyncio.wait(watching, timeout=30)

    async def _live(self, plan):
        self.witness.plans[plan.name] = plan
        await self._until(plan.begins_at, latest_s=2.0)
        owner = Owner.of(self.client, self.witness, plan)
        self.owners.append(owner)
        await owner.submit()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(owner.steer())
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
            self.client,
            self.witness,
            plan,
            Result(name, "", [pair[0] for pair in lines], [pair[1] for pair in lines]),
        )
        now = time.monotonic()
        self.history.disturbances.append(Disturbance("retry", owner.plan.name, now, now))
        self.owners.append(again)
        await again.retry(owner.result.batch_id)
        if not again.result.batch_id:  # refused: its bad answer is on record
            return
        await again.until_over()
        await again.fetch()

    async def _until(self, share, *, latest_s):
        due = self._works_since + latest_s * self._slowness
        wanted = share * self.schedule.lines
        while self.witness.seen() < wanted and time.monotonic() < due:
            self.witness.moved.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - time.monotonic())):
                    await self.witness.moved.wait()

    # -- acts

    async def _act(self, act: Act):
        await self._until(act.at, latest_s=act.latest_s)
        if act.verb in {Verb.KILL, Verb.TERM, Verb.READ_ONLY}:
            await self._let_failpoints_happen()
        if act.target.startswith("upstream"):
            await self._act_on_upstream(
                act, self.upstreams[int(act.target.removeprefix("upstream"))]
            )
        elif act.target == "disk":
            await self._act_on_disk(act)
        elif act.target == "clock":
            if self.clock is not None:
                self.clock.jump(act.seconds)
                self._disturb("jump", "clock")
        elif act.target == "second":
            self._start_second()
        else:
            await self._act_on_process(act, self.kept[act.target])

    async def _let_failpoints_happen(self):
        """Wait a little for the failpoint that this seed is about, or a death would disarm it."""
        point, action = self.schedule.pair
        due = time.monotonic() + _FAILPOINT_S * self._slowness
        while (point, action) not in fired(self._logs()) and time.monotonic() < due:
            await asyncio.sleep(_TICK_S)

    async def _act_on_process(self, act, kept):
        match act.verb:
            case Verb.KILL:
                kept.take_down(signal.SIGKILL, act.seconds, act.failpoints)
            case Verb.TERM:
                kept.take_down(signal.SIGTERM, act.seconds, act.failpoints)
            case Verb.FREEZE:
                await kept.freeze(act.seconds)
            case Verb.RELOAD if kept.pid is not None:
                self._disturb("reload", act.target)
                front.reload(kept.pid)
            case Verb.KILL_WORKER if kept.pid is not None:
                self._disturb("worker", act.target)
                front.kill_worker(kept.pid)

    async def _act_on_upstream(self, act, upstream):
        done = self._disturb(
            {Verb.VANISH: "down", Verb.LOADING: "down"}.get(act.verb, "frozen"), act.target
        )
        done.ended_at = None
        match act.verb:
            case Verb.VANISH:
                await upstream.vanish()
            case Verb.LOADING:
                upstream.is_loading = True
            case Verb.FREEZE:
                upstream.freeze()
        try:
            await asyncio.sleep(act.seconds)
        finally:
            if act.verb is Verb.VANISH:
                await upstream.listen()
            upstream.is_loading = False
            upstream.thaw()
            done.ended_at = time.monotonic()

    async def _act_on_disk(self, act):
        if self.disk is None:
            return
        done = self._disturb("full" if act.verb is Verb.FULL else "read-only", "disk")
        done.ended_at = None
        try:
            if act.verb is Verb.FULL:
                await asyncio.to_thread(self.disk.fill, int(act.latest_s * 1000) % 3000)
                await asyncio.sleep(act.seconds)
            else:
                await self._make_read_only(act.seconds)
        finally:
            self.disk.make_room()
            done.ended_at = time.monotonic()

    async def _make_read_only(self, seconds):
        users = [self.kept[name] for name in ("gateway", *_DISPATCHERS) if self.kept[name].pid]
        for kept in users:
            await kept.hold_down()
        is_read_only = await self.disk.remount("ro")
        for kept in users:
            kept.let_up()
        if not is_read_only:
            self.history.played_without.append("a read-only disk (it was busy)")
        try:
            await asyncio.sleep(seconds)
        finally:
            await self.disk.remount("rw")

    def _start_second(self):
        if self.schedule.second == "rival":
            (self.data / "dispatcher.lock").unlink(missing_ok=True)
            self._disturb("rival", "dispatcher")
        self.kept["second"].start()

    def _disturb(self, kind, target):
        now = time.monotonic()
        made = Disturbance(kind, target, now, now)
        self.history.disturbances.append(made)
        return made

    async def _back_up(self, share):
        """Run the command; once more without its failpoint, where it has one."""
        await self._until(share, latest_s=2.0)
        armed = dict(self.schedule.failpoints).get("backup", "")
        target = self.folder / "backup"
        for failpoints in (armed, "") if armed else ("",):
            began_at = time.monotonic()
            code = await run_command(
                ("backup", str(target)),
                self.kept["gateway"].role.environment | {"BATCHLINE_TEST_FAILPOINTS": failpoints},
                self.folder / "backup.log",
            )
            found = await asyncio.to_thread(audit.damage, target) if target.exists() else ()
            self.history.backups.append(Backup(began_at, time.monotonic(), code, found))

    # -- watching

    async def _look_at_rows(self):
        while not self.over.is_set():
            await self._look()
            await asyncio.sleep(_LOOK_S)

    async def _look_after_death(self, name):
        await self._look()

    async def _look(self):
        names = {o.result.batch_id: o.plan.name for o in self.owners if o.result.batch_id}
        seen = await asyncio.to_thread(audit.look, self.data, names) if names else None
        if seen is not None:
            self.history.looks.append(seen)

    async def _notice_being_busy(self):
        while not self.over.is_set():
            before = time.monotonic()
            await asyncio.sleep(_TICK_S)
            if time.monotonic() - before > _BUSY_S:
                now = time.monotonic()
                self.history.disturbances.append(Disturbance("busy", "machine", before, now))

    # -- leaving

    async def _leave(self):
        await self._stop("second")
        dispatcher = self.kept["dispatcher"]
        await dispatcher.is_up.wait()
        dispatcher.take_down(signal.SIGTERM, 0.0, self.schedule.last_failpoints)
        await asyncio.sleep(_TICK_S)
        await self._until_kept_house()
        self.history.listed = frozenset(await list_all(self.client))
        for name in ("dispatcher", "gateway", "nginx"):
            await self._stop(name)
        self.history.at_rest = await asyncio.to_thread(audit.at_rest, self.data)

    async def _until_kept_house(self):
        due = time.monotonic() + _HOUSEKEEPING_S
        while time.monotonic() < due:
            await self.kept["dispatcher"].is_up.wait()
            if not any((await asyncio.to_thread(audit.housekeeping_left, self.data)).values()):
                return
            await asyncio.sleep(_TICK_S)

    async def _stop(self, name):
        kept = self.kept[name]
        if kept._task is None:
            return
        now = time.monotonic()
        code = await kept.stop()
        self.history.disturbances.append(
            Disturbance("stopped", name, now, time.monotonic(), code=-999 if code is None else code)
        )

    async def _kill_all(self):
        for kept in self.kept.values():
            kept._leaving = True
            kept.let_up()
            kept.end_with(signal.SIGCONT)
            kept.end_with(signal.SIGKILL)
        tasks = [kept._task for kept in self.kept.values() if kept._task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for kept in self.kept.values():
            if kept._process is not None:
                kept.end_with(signal.SIGKILL)
                await kept._process.wait()

    def _state(self):
        lines = [
            f"  {o.plan.name} {o.result.batch_id or 'not created'}: {o.latest}" for o in self.owners
        ]
        lines += [f"  {name}: pid {kept.pid}" for name, kept in self.kept.items()]
        lines.append(f"  {self.witness.seen()} of {self.schedule.lines} lines seen")
        lines += [
            f"  open at the model servers: {s.tag}, dealt {s.dealt}"
            for s in self.witness.sends
            if s.end == "open" or (s.dealt == Fault.HANG and s.ended_at is None)
        ][:20]
        for name, text in self._logs().items():
            tail = "\n    ".join(text.splitlines()[-_TAIL_LINES:])
            lines.append(f"  -- end of {name}\n    {tail}")
        return "\n".join(lines)

    def _logs(self):
        return {p.name: p.read_text(errors="replace") for p in sorted(self.folder.glob("*.log"))}


def _cpu_s():
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
