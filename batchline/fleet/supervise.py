"""Keeps the programs of this host running: start, watch, restart with back-off, stop, no orphans.

Every child leads a process group of its own, so that Ctrl-C in the terminal reaches batchline only, and
so that the processes of a dead server (vLLM's engine processes outlive their killed parent) can be ended
with it. A child that was ready gets its grace to finish what it answers; one that still loads owes nobody an
answer and gets `LOADING_GRACE_S` (vLLM, told to stop while it loads, hangs). If the supervisor itself is
killed, the kernel sends each child its stop signal, and the reaper ends what is left after the same times.
`programs` decides port numbers and flags.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from batchline.child_environment import child_environment
from batchline.errors import Unavailable
from batchline.process.service import die_with_parent

from . import reaper
from .health import is_healthy
from .logs import keep_bounded
from .programs import Program

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0
LOADING_GRACE_S = 5.0
STEADY_S = 60.0
"""After so long a run, the next start waits only the first delay."""

_GIVE_UP_AFTER = 3
_POLL_S = 0.25
_KILL_WAIT_S = 10.0


class Happened(StrEnum):
    """What the supervisor reports of a program."""

    STARTED = "started"
    READY = "ready"
    DIED = "died"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one program, `after_s` seconds after its start."""

    program: Program
    what: Happened
    pid: int
    after_s: float = 0.0
    exit_code: int | None = None
    delay_s: float = 0.0


def backoff_s(failures: int) -> float:
    """Return how long to wait before the next start after so many failures in a row (1, 2, …)."""
    return min(FIRST_DELAY_S * 2.0 ** min(failures - 1, 30), LONGEST_DELAY_S)


def count_failures(failures: int, *, up_s: float) -> int:
    """Return the failures in a row after one more death; a long run resets the count."""
    return 1 if up_s >= STEADY_S else failures + 1


class Supervisor:
    """Runs stages of programs: started in the order given, stopped in the reverse one."""

    def __init__(
        self,
        stages: Iterable[Sequence[Program]],
        *,
        report: Callable[[Event], None] = lambda _: None,
        backoff: Callable[[int], float] = backoff_s,
        lock: int | None = None,
    ) -> None:
        """`lock` is a descriptor that stays open, also if this process is killed, until no child is left."""
        stages = list(stages)
        grace_s = max((p.grace_s for stage in stages for p in stage), default=0.0)
        self._groups = _Groups(grace_s=grace_s, lock=lock)
        self._keepers = [
            [
                _Keeper(program, report=report, backoff=backoff, groups=self._groups)
                for program in stage
            ]
            for stage in stages
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Keep everything running until `stop`, then stop it; returns with no child left.

        Raises Unavailable: a program died again and again before it was ever ready.
        """
        await self._groups.open()
        try:
            async with asyncio.TaskGroup() as tasks:
                keeping = [
                    tasks.create_task(keeper.keep()) for stage in self._keepers for keeper in stage
                ]
                logs = {keeper.program.log for stage in self._keepers for keeper in stage}
                keeping.append(tasks.create_task(keep_bounded(logs)))
                await stop.wait()
                for task in keeping:
                    task.cancel()
        finally:
            await self._stop_all()
            await self._groups.close()

    async def wait_ready(self) -> None:
        """Return once each program has been ready at least once."""
        for stage in self._keepers:
            for keeper in stage:
                await keeper.was_ready.wait()

    def not_ready(self) -> list[str]:
        """Return the names of the programs that were never ready yet."""
        return [
            k.program.name for stage in self._keepers for k in stage if not k.was_ready.is_set()
        ]

    async def _stop_all(self) -> None:
        for stage in reversed(self._keepers):
            await asyncio.gather(*(keeper.stop() for keeper in stage))


class _Groups:
    """The process groups of the children, which the reaper is told of."""

    def __init__(self, *, grace_s: float, lock: int | None) -> None:
        self._grace_s = grace_s
        self._lock = lock
        self._reaper: Process | None = None

    async def open(self) -> None:
        self._reaper = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", reaper.__file__),
            *(str(LOADING_GRACE_S), str(self._grace_s)),
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
            pass_fds=() if self._lock is None else (self._lock,),
        )

    def add(self, pid: int) -> None:
        self._tell(f"+{pid}\n")

    def is_ready(self, pid: int) -> None:
        """Let this child finish what it answers, should the supervisor be killed."""
        self._tell(f"={pid}\n")

    def end(self, pid: int) -> None:
        """Kill what is left of the group that this child led."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        self._tell(f"-{pid}\n")

    async def close(self) -> None:
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.close()
            await asyncio.wait_for(self._reaper.wait(), self._grace_s + _KILL_WAIT_S)

    def _tell(self, line: str) -> None:
        if self._reaper is not None and self._reaper.stdin is not None:
            self._reaper.stdin.write(line.encode())


class _Keeper:
    """Keeps one program running."""

    def __init__(
        self,
        program: Program,
        *,
        report: Callable[[Event], None],
        backoff: Callable[[int], float],
        groups: _Groups,
    ) -> None:
        self.program = program
        self.was_ready = asyncio.Event()
        self._report = report
        self._backoff = backoff
        self._groups = groups
        self._child: Process | None = None
        self._child_was_ready = False

    async def keep(self) -> None:
        """Start the program, and again whenever it ends, until cancelled."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            child = self._child = await _spawn(self.program)
            self._child_was_ready = False
            self._groups.add(child.pid)
            self._tell(Happened.STARTED, child)
            code = await self._watch(child, began)
            self._groups.end(child.pid)
            up_s = loop.time() - began
            failures = count_failures(failures, up_s=up_s)
            if failures >= _GIVE_UP_AFTER and not self.was_ready.is_set():
                raise Unavailable(_last_words(self.program, code, failures))
            delay_s = self._backoff(failures)
            self._tell(Happened.DIED, child, after_s=up_s, exit_code=code, delay_s=delay_s)
            await asyncio.sleep(delay_s)

    async def _watch(self, child: Process, began: float) -> int:
        """Wait until the child ends, and report when it becomes ready before that."""
        ended = asyncio.ensure_future(child.wait())
        try:
            while not ended.done():
                await asyncio.wait([ended], timeout=_POLL_S)
                if not ended.done() and await self._answers(child):
                    after_s = asyncio.get_running_loop().time() - began
                    self._child_was_ready = True
                    self._groups.is_ready(child.pid)
                    self.was_ready.set()
                    self._tell(Happened.READY, child, after_s=after_s)
                    break
            return await ended
        finally:
            ended.cancel()

    async def _answers(self, child: Process) -> bool:
        program = self.program
        return await is_healthy(
            program.host, program.port, program.health_path, part=program.part, pid=child.pid
        )

    async def stop(self) -> None:
        """End the child: its stop signal, its time to comply, then SIGKILL for it and all it started."""
        child = self._child
        if child is None or child.returncode is not None:
            return  # never started, or dead: `keep` has ended the rest of its group
        grace_s = self.program.grace_s
        if not self._child_was_ready:
            grace_s = min(grace_s, LOADING_GRACE_S)
        child.send_signal(self.program.stop_signal)
        try:
            await asyncio.wait_for(child.wait(), grace_s)
        except TimeoutError:
            self._groups.end(child.pid)
            await asyncio.wait_for(child.wait(), _KILL_WAIT_S)
        self._groups.end(child.pid)
        self._tell(Happened.STOPPED, child, exit_code=child.returncode)

    def _tell(
        self,
        what: Happened,
        child: Process,
        *,
        after_s: float = 0.0,
        exit_code: int | None = None,
        delay_s: float = 0.0,
    ) -> None:
        self._report(Event(self.program, what, child.pid, after_s, exit_code, delay_s))


async def _spawn(program: Program) -> Process:
    program.log.parent.mkdir(parents=True, exist_ok=True)
    with program.log.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *program.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=child_environment(program.env, only=program.inherits),
            start_new_session=True,
            preexec_fn=partial(die_with_parent, program.stop_signal),
        )


def _last_words(program: Program, code: int, failures: int) -> str:
    return (
        f"{program.name} ended {failures} times before it was ready (exit code {code}). Its log ends:\n"
        + "".join(f"    {line}\n" for line in tail(program.log, 12))
        + f"The whole log: {program.log}"
    )


def tail(log: Path, count: int) -> list[str]:
    """Return the last lines of a log that are not blank."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 64 * 1024))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.strip()][-count:]
