"""The real processes of one history: started, killed, stopped for a while, and kept running.

Whatever dies is started again, as a service manager would. Each death and each stop is recorded as a
disturbance, bidden (by the schedule) or not.
"""

from __future__ import annotations

import asyncio
import ctypes
import math
import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from waiting import pass_time, until
from warm import Warm

from .history import Disturbance

_AGAIN_S = 0.3  # between starts of a process that does not stay
_START_S = 30.0
_LOOK_S = 0.02
_FIRED = re.compile(r"failpoint ([a-z.]+): (\w+)")


def die_with_parent():
    """Run in a child before its program: nothing outlives the harness."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Awaited:
    """A warm process as one of asyncio's."""

    def __init__(self, warm):
        self._warm = warm
        self.pid = warm.pid

    @property
    def returncode(self):
        return self._warm.returncode

    def send_signal(self, number):
        self._warm.send_signal(number)

    async def wait(self):
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(self._warm.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._warm.sentinel)
        return self.returncode


@dataclass(frozen=True, slots=True)
class Role:
    """A process of the system: what to run and how to see that it serves."""

    name: str
    argv: tuple[str, ...]
    """A program, or the arguments of ours."""
    environment: dict[str, str]
    health_url: str
    log: Path
    has_group: bool = False
    """It has children that die with it (nginx's workers)."""
    is_ours: bool = False


def product(name, command, environment, port, log):
    """Make the role of one of our own processes."""
    url = f"http://127.0.0.1:{port}/health"
    return Role(name, (command,), environment, url, log, is_ours=True)


class Kept:
    """One process that is kept running until `stop`."""

    def __init__(self, role, disturbances, on_death=None):
        self.role = role
        self.failpoints = ""
        self.pids: list[int] = []
        """All that it ever had."""
        self.is_up = asyncio.Event()
        self._disturbances = disturbances
        self._on_death = on_death
        self._process = None
        self._down = None
        self._wanted_down_s = None
        self._may_start = asyncio.Event()
        self._may_start.set()
        self._leaving = False
        self._is_going = False
        self._task = None

    def start(self, failpoints=""):
        """Start it; it is kept from now on."""
        self.failpoints = failpoints
        self._open_down(is_bidden=True)
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.role.name}")

    def end_with(self, number):
        """Send a signal, if it runs."""
        if self._process is None or self._process.returncode is not None:
            return
        try:
            if self.role.has_group and number != signal.SIGTERM:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)
        except ProcessLookupError:
            pass

    def take_down(self, number, seconds=0.0, failpoints=""):
        """Kill it; it comes back after `seconds`, with these failpoints."""
        if self._process is None or self._process.returncode is not None:
            return
        self.failpoints = failpoints
        self._wanted_down_s = seconds
        self._is_going = True
        self.is_up.clear()
        self._open_down(is_bidden=True)
        self.end_with(number)

    async def hold_down(self):
        """Kill it and keep it down until `let_up`."""
        self._may_start.clear()
        self.take_down(signal.SIGKILL)
        await until(
            lambda: self._process is None or self._process.returncode is not None,
            within_s=math.inf,
            every_s=_LOOK_S,
        )

    def let_up(self):
        """Let it be started again."""
        self._may_start.set()

    async def freeze(self, seconds):
        """Stop it for a while."""
        if self._process is None or self._process.returncode is not None:
            return
        frozen = Disturbance("frozen", self.role.name, time.monotonic())
        self._disturbances.append(frozen)
        self.end_with(signal.SIGSTOP)
        try:
            await pass_time(seconds)
        finally:
            self.end_with(signal.SIGCONT)
            frozen.ended_at = time.monotonic()

    async def stop(self, within_s=20.0):
        """End it for good, gently; return its exit code, or None if it had to be killed."""
        is_starting = not self.is_up.is_set()  # too early to know what SIGTERM means
        self._leaving = True
        self._may_start.set()
        self.is_up.clear()
        self.end_with(signal.SIGTERM)
        try:
            async with asyncio.timeout(within_s):
                await self._task
        except TimeoutError:
            self.end_with(signal.SIGKILL)
            await asyncio.wait([self._task], timeout=5)
            return None
        code = self._process.returncode if self._process else 0
        return 0 if is_starting and code == -signal.SIGTERM else code

    def waited_s(self):
        """Return how long its main thread has waited for a processor since it was started."""
        try:
            told = Path(f"/proc/{self._process.pid}/schedstat").read_text()
        except (OSError, AttributeError):
            return 0.0
        return int(told.split()[1]) / 1e9

    @property
    def pid(self):
        """The process id, or None while it is down."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running else None

    async def _keep(self):
        while not self._leaving:
            await self._may_start.wait()
            if self._leaving:
                return
            await self._run_once()
            if self._leaving:
                return
            if self._on_death is not None:
                await self._on_death(self.role.name)
            wait_s = self._wanted_down_s
            is_short = wait_s is None and self._process.returncode == 1
            self._wanted_down_s = None
            await pass_time(_AGAIN_S if is_short else (wait_s or 0.0))

    async def _run_once(self):
        environment = self.role.environment | {"BATCHLINE_TEST_FAILPOINTS": self.failpoints}
        self.failpoints = ""
        self._is_going = False
        self._process = await self._begin(environment)
        self.pids.append(self._process.pid)
        looking = asyncio.create_task(self._until_up())
        code = await self._process.wait()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        self.is_up.clear()
        if not self._leaving:
            self._open_down(is_bidden=False).code = code

    async def _begin(self, environment):
        role = self.role
        if role.is_ours:
            return await _start(role.argv, environment, role.log)
        return await _execute(role.argv, environment, role.log, has_group=role.has_group)

    async def _until_up(self):
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as client:

            async def is_serving():
                async with client.get(self.role.health_url) as answer:
                    return answer.status == 200

            refusals = (aiohttp.ClientError, OSError, TimeoutError)
            await until(is_serving, within_s=math.inf, every_s=_LOOK_S, not_yet=refusals)
        if self._is_going:
            return
        if self._down is not None:
            self._down.ended_at = time.monotonic()
            self._down = None
        self.is_up.set()

    def _open_down(self, *, is_bidden):
        if self._down is not None and self._down.code is not None:  # it died again while starting
            self._down.ended_at = time.monotonic()
            self._down = None
        if self._down is None:
            self._down = Disturbance("down", self.role.name, time.monotonic(), None, is_bidden)
            self._disturbances.append(self._down)
        return self._down


def fired(logs):
    """Return each failpoint that happened, in the order of the logs: (point, action)."""
    return [match for text in logs.values() for match in _FIRED.findall(text)]


async def run_command(arguments, environment, log):
    """Run a command of the product to its end, its talk going to a log; return its exit code."""
    process = await _start(arguments, environment, log)
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()


async def _start(arguments, environment, log):
    """Start `batchline …`: warm, or cold where a clock is to be loaded into it, which a fork does not do."""
    if "LD_PRELOAD" not in environment:
        return Awaited(Warm(tuple(arguments), environment, log))
    return await _execute(
        (sys.executable, "-m", "batchline.cli.main", *arguments), environment, log
    )


async def _execute(argv, environment, log, *, has_group=False):
    with log.open("ab") as talk:
        return await asyncio.create_subprocess_exec(
            *argv,
            env=environment,
            stdout=talk,
            stderr=talk,
            stdin=asyncio.subprocess.DEVNULL,
            preexec_fn=die_with_parent,
            start_new_session=has_group,
        )
