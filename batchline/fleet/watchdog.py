"""A small process that outlives the supervisor, to end the supervisor's children if it is killed.

Run as a script, with the standard library only. Standard input carries one line per process group: "+PID"
when a child was started, "-PID" when it and its group are gone. End of input means that the supervisor
is gone too: what is still listed gets SIGTERM, then its whole group SIGKILL. (The kernel's
parent-death signal reaches a server, but not the engine processes that the server started.)
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable

GRACE_S = 40.0  # longer than vLLM's own drain
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


def end(groups: set[int]) -> None:
    """Ask each group's leader to end, then kill its group; returns when all are gone."""
    for pid in groups:
        _signal(os.kill, pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
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
    end(follow(sys.stdin))
