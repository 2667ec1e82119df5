"""A small process that ends the supervisor's children if the supervisor is killed.

Runs as a script, with the standard library only; its arguments are how many seconds a child gets that still
loads, and one that was ready. Standard input carries one line for each change of a process group: "+PID" when
a child was started, "=PID" when it is ready, "-PID" when it and its group are gone. End of input means that
the supervisor is gone: the kernel has sent each child its stop signal (elsewhere than on Linux this script
sends SIGTERM), and its whole group gets SIGKILL when it has ended, or when its time is over. (The kernel's
signal reaches a server, but not the engine processes that the server started; a second SIGTERM would end what
the first one lets it finish.)
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable

_POLL_S = 0.1


def follow(lines: Iterable[str]) -> dict[int, bool]:
    """Read until the end of input; return the groups that are still there, and whether each was ready."""
    groups: dict[int, bool] = {}
    for line in lines:
        pid = int(line[1:])
        if line.startswith("-"):
            groups.pop(pid, None)
        else:
            groups[pid] = line.startswith("=")
    return groups


def end(graces_s: dict[int, float]) -> None:
    """Let each group's leader end within its seconds, then kill its group; returns when all are gone."""
    if sys.platform != "linux":
        for pid in graces_s:
            _signal(os.kill, pid, signal.SIGTERM)
    began = time.monotonic()
    left = graces_s
    while left:
        passed_s = time.monotonic() - began
        done = {pid for pid in left if passed_s > left[pid] or not _signal(os.kill, pid, 0)}
        for pid in done:
            _signal(os.killpg, pid, signal.SIGKILL)
        left = {pid: left[pid] for pid in left if pid not in done}
        time.sleep(_POLL_S)


def _signal(send: Callable[[int, int], None], pid: int, number: int) -> bool:
    try:
        send(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    loading_s, ready_s = map(float, sys.argv[1:])
    end({pid: ready_s if ready else loading_s for pid, ready in follow(sys.stdin).items()})
