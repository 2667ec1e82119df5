"""The stage of one history: model servers, nginx, our processes, disk and clock, opened and closed in order."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import time
from contextlib import suppress

from ports import free_port

from batchline.webhooks.records import new_secret

from . import audit, clock, disk, front, handling
from .client import Client, Owner
from .crew import Kept, product
from .faults import Fault
from .history import ENDPOINT, Disturbance, History
from .receiver import Receiver
from .witness import Upstream, Witness

DISPATCHERS = ("dispatcher", "second")
DISK_USERS = ("gateway", *DISPATCHERS, "deliverer")
_EVENT_TYPES = ("batch.completed", "batch.failed", "batch.expired", "batch.cancelled")
_TAIL_LINES = 25


class Stage:
    """Everything of one history that has to be opened, moved and closed."""

    def __init__(self, schedule, folder):
        self.schedule = schedule
        self.folder = folder
        self.history = History(schedule)
        self.witness = Witness(schedule.latency_s, has_gauges=schedule.has_gauges)
        self.history.sends = self.witness.sends
        self.upstreams: list[Upstream] = []
        self.receiver = Receiver(self.history.told)
        self.kept: dict[str, Kept] = {}
        self.owners: list[Owner] = []
        self.secret = new_secret()
        """Signs what is told to callbacks."""
        self.disk = None
        self.disk_acts = asyncio.Lock()
        self.clock = None
        self.over = asyncio.Event()
        self.began_at = self.works_since = time.monotonic()
        self.slowness = 1.0
        """How much slower than usual this machine is at present: the latest moments of acts follow it."""

    async def open(self, stack):
        """Start everything; what `stack` closes, it closes in reverse."""
        for number in range(self.schedule.upstreams):
            upstream = await stack.enter_async_context(Upstream(self.witness, number))
            self.upstreams.append(upstream)
        await stack.enter_async_context(self.receiver)
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
            if name != "deliverer":  # it looks for handlers first, and nothing waits for it
                await self.kept[name].is_up.wait()
        await self._register()

    def callback_url(self, batch):
        """Return where the end of a batch is told that asks for it itself; None for others."""
        if batch not in self.schedule.callbacks:
            return None
        self.history.secrets[batch] = self.secret
        return self.receiver.url_for(batch)

    async def _register(self):
        """Have the ends of all batches told to the receiver."""
        wanted = {
            "name": "all",
            "url": self.receiver.url_for(ENDPOINT),
            "event_types": _EVENT_TYPES,
        }
        _, text = await self.client.insist("POST", "/v1/webhook_endpoints", json=wanted)
        self.history.secrets[ENDPOINT] = json.loads(text)["signing_secret"]

    def _by_migration(self):
        armed = dict(self.schedule.failpoints)
        names = ["gateway", "dispatcher", "deliverer"]
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
        nginx_port, gateway_port, ops_port, second_port, told_port = (free_port() for _ in range(5))
        self._url = f"http://127.0.0.1:{gateway_port}"
        environment = self._environment() | {
            "BATCHLINE_DATA_DIR": str(self.data),
            "BATCHLINE_PORT": str(gateway_port),
            "BATCHLINE_DISPATCHER_PORT": str(ops_port),
            "BATCHLINE_UPSTREAM_URL": f"http://127.0.0.1:{nginx_port}",
            "BATCHLINE_BACKEND_URLS": ",".join(f"http://{u.address}" for u in self.upstreams),
            "BATCHLINE_DELIVERER_PORT": str(told_port),
            "BATCHLINE_WEBHOOK_SECRET": self.secret,
            "BATCHLINE_WEBHOOK_NETWORKS": "127.0.0.0/8",
        }
        deliverer = environment | self._handler()
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
            product("deliverer", "deliver", deliverer, told_port, log / "deliverer.log"),
        )
        for role in roles:
            on_death = self._look_after_death if role.name in DISPATCHERS else None
            self.kept[role.name] = Kept(role, self.history.disturbances, on_death)

    def _handler(self):
        if self.schedule.handling is None:
            return {}
        return handling.environment(self.schedule.handling, self.folder / "handler")

    def _environment(self):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BATCHLINE_")}
        if self.schedule.shifts_clock:
            if clock.libfaketime():
                self.clock = clock.WallClock(self.folder / "clock")
                kept |= self.clock.environment()
            else:
                self.history.played_without.append("clock jumps (libfaketime is not installed)")
        return kept | {f"BATCHLINE_{k.upper()}": v for k, v in self.schedule.settings}

    # -- what all use

    async def until(self, share, *, latest_s):
        """Wait until this share of all lines was sent, or so late that it will not come."""
        wanted = share * self.schedule.lines
        await self._until(lambda: self.witness.seen() >= wanted, self.witness.moved, latest_s)

    async def until_told(self, share, *, latest_s):
        """Wait until the end of this share of the batches was told, or so late that it will not come."""
        wanted = math.ceil(share * len(self.schedule.batches))
        await self._until(lambda: self.receiver.batches() >= wanted, self.receiver.moved, latest_s)

    async def _until(self, is_so, moved, latest_s):
        due = self.works_since + latest_s * self.slowness
        while not is_so() and time.monotonic() < due:
            moved.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due - time.monotonic())):
                    await moved.wait()

    def wall_clock(self):
        """Return the time that the processes have."""
        return time.time() + (self.clock.offset_s if self.clock is not None else 0)

    def disturb(self, kind, target):
        """Put something that was done to the system on record."""
        now = time.monotonic()
        made = Disturbance(kind, target, now, now)
        self.history.disturbances.append(made)
        return made

    async def _look_after_death(self, name):
        await self.look()

    async def look(self):
        """Put on record what the database holds now."""
        names = {o.result.batch_id: o.plan.name for o in self.owners if o.result.batch_id}
        seen = await asyncio.to_thread(audit.look, self.data, names) if names else None
        if seen is not None:
            self.history.looks.append(seen)

    # -- leaving

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
        clock.tidy(pid for kept in self.kept.values() for pid in kept.pids)

    def state(self):
        """Say how everything stands, for a history that hangs."""
        lines = [
            f"  {o.plan.name} {o.result.batch_id or 'not created'}: {o.latest}" for o in self.owners
        ]
        lines += [f"  {name}: pid {kept.pid}" for name, kept in self.kept.items()]
        lines.append(
            f"  {self.receiver.batches()} events told in {len(self.history.told)} requests"
        )
        lines.append(f"  {self.witness.seen()} of {self.schedule.lines} lines seen")
        lines += [
            f"  open at the model servers: {s.tag}, dealt {s.dealt}"
            for s in self.witness.sends
            if s.end == "open" or (s.dealt == Fault.HANG and s.ended_at is None)
        ][:20]
        for name, text in self.logs().items():
            tail = "\n    ".join(text.splitlines()[-_TAIL_LINES:])
            lines.append(f"  -- end of {name}\n    {tail}")
        return "\n".join(lines)

    def handler_pid(self):
        """Return the process of the handler that is at work, if one is."""
        return handling.process_under(self.kept["deliverer"].pid)

    def handled(self):
        """Return what the handler recorded so far."""
        return handling.recorded(self.folder / "handler")

    def logs(self):
        """Return the log of each process so far."""
        return {p.name: p.read_text(errors="replace") for p in sorted(self.folder.glob("*.log"))}
