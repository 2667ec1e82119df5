"""A small process that ends the supervisor's children if the supervisor is killed.

Runs as a script, with the standard library only; its argument is how many seconds the children get.
Standard input carries one line per process group: "+PID" when a child was started, "-PID" when it and its
group are gone. End of input means that the supervisor is gone: the kernel has sent each child its stop signal
(on other systems than Linux this script sends SIGTERM), and its whole group gets SIGKILL when it has ended,
or when its time is over. (The kernel's signal reaches a server, but not the engine processes that the server
started; a second SIGTERM would end what the first one lets it finish.)
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable

_POLL_S = 0.1


def follow(lines: Iterable[str]) -> set[int]:
    """Read until the end of input; return the groups that are still there."""
    groups: set[int] = set()
    for line in lines:
        pid = int(line[1:])
        if line.startswith("+"):
            groups.add(pid)
        else:
            groups.discard(pid)
    return groups


def end(groups: set[int], *, grace_s: float) -> None:
    """Let each group's leader end, then kill its group; returns when all are gone."""
    if sys.platform != "linux":
        for pid in groups:
            _signal(os.kill, pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    left = set(groups)
    while left:
        done = {pid for pid in left if not _signal(os.kill, pid, 0)}
        if time.monotonic() > deadline:
            done = left
        for pid in done:
            _signal(os.killpg, pid, signal.SIGKILL)
        left -= done
        time.sleep(_POLL_S)


def _signal(send: Callable[[int, int], None], pid: int, number: int) -> bool:
    try:
        send(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    end(follow(sys.stdin), grace_s=float(sys.argv[1]))
