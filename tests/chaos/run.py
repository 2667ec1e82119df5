"""Plays many seeds, some at once, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

import psutil

from .crew import die_with_parent
from .disk import unmount_all
from .draw import schedule
from .invariants import Breach
from .play import LIMIT_S, play
from .report import Verdict, judge
from .schedule import shown

AT_ONCE = max(1, (os.cpu_count() or 1) * 3 // 2)
"""A third of a history is waiting."""
_KILL_AFTER_S = 8 * LIMIT_S
_FORK = multiprocessing.get_context("fork")


def scratch() -> Path:
    """Return where histories are played: in memory if possible; fsync costs nothing there."""
    memory = Path("/dev/shm")
    base = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix="batchline-chaos-", dir=base))


def run(
    seeds: Iterable[int], *, jobs: int, keep: Path, on_verdict: Callable[[Verdict], None]
) -> list[Verdict]:
    """Play all seeds; return their verdicts by seed. What failed is kept below `keep`."""
    waiting = list(seeds)[::-1]
    playing: dict[object, _Played] = {}
    verdicts = []
    base = scratch()
    try:
        while waiting or playing:
            while waiting and len(playing) < jobs:
                started = _Played(waiting.pop(), base, keep)
                playing[started.process.sentinel] = started
            for sentinel in wait(list(playing), timeout=1.0):
                verdicts.append(playing.pop(sentinel).verdict())
                on_verdict(verdicts[-1])
            for played in playing.values():
                played.end_if_late()
    finally:
        for played in playing.values():
            played.end()
        unmount_all(base)
        shutil.rmtree(base, ignore_errors=True)
    return sorted(verdicts, key=lambda verdict: verdict.seed)


class _Played:
    """A seed under way in its own process."""

    def __init__(self, seed, base, keep):
        self.seed = seed
        self._since = time.monotonic()
        self._mine, theirs = _FORK.Pipe(duplex=False)
        self.process = _FORK.Process(target=_play_one, args=(seed, base, keep, theirs))
        self.process.start()
        theirs.close()

    def verdict(self):
        """Take the verdict of a process that has ended."""
        self.process.join(5)
        with suppress(EOFError):
            if self._mine.poll():
                return self._mine.recv()
        what = f"the history's own process ended with {self.process.exitcode}"
        return Verdict(self.seed, [Breach("every history ends", what)])

    def end_if_late(self):
        """Kill what is long past its limit."""
        if time.monotonic() - self._since > _KILL_AFTER_S:
            self.end()

    def end(self):
        """Kill it, first, since it would start again what dies, and all that it started."""
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.send_signal(signal.SIGKILL)


def _play_one(seed, base, keep, pipe):
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who ends us
    folder = base / f"seed-{seed}"
    try:
        folder.mkdir()
        history = play(schedule(seed), folder)
        verdict = judge(history)
        if verdict.breaches:
            verdict.kept_at = str(_kept(folder, keep / f"seed-{seed}", verdict, history))
    except BaseException:  # noqa: BLE001 - told by the parent, whatever it is
        verdict = Verdict(seed, [Breach("the harness itself works", traceback.format_exc())])
    pipe.send(verdict)
    pipe.close()
    shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.flush()
    os._exit(0)


def _kept(folder, target, verdict, history):
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target, dirs_exist_ok=True)
    told = [shown(history.schedule), ""]
    told += [f"{breach.invariant}: {breach.what}" for breach in verdict.breaches]
    told += ["", "disturbances", *map(str, sorted(history.disturbances, key=lambda d: d.began_at))]
    told += ["", "sends", *map(str, history.sends)]
    told += ["", "calls", *(str(call) for call in history.calls)]
    (target / "history.txt").write_text("\n".join(told) + "\n")
    return target
