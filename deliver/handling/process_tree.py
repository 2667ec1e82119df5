"""The processes of one attempt of a handler, and their memory, as /proc shows them (proc(5)).

They are its first process, what that starts, and what is left alone meanwhile: whatever forks and becomes a
session of its own inherits the mark that the environment of the first one has.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "_BATCHLINE_HANDLER_RUN"
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PARENT, _GROUP, _STARTED_AT, _PAGES = 1, 2, 19, 21  # fields of /proc/PID/stat behind the name


@dataclass(frozen=True, slots=True)
class Process:
    """One process: its parent and group, when it started, and how much memory it keeps."""

    pid: int
    parent: int
    group: int
    started_at: int
    memory_bytes: int
    """What it shares with others counts for each."""


class ProcessTree:
    """The processes of one attempt. `mark`: what no other attempt has."""

    def __init__(self, first: int, mark: str) -> None:
        """Begin with the first process, which leads a group of its own."""
        self._first = _process(first)  # its number may be another's when it has ended
        self._mark = f"{MARK}={mark}".encode()
        self._groups = {first}
        self._others: dict[int, int] = {}
        """Of processes without the mark: when they started."""

    def look(self) -> list[Process]:
        """Return those that live."""
        known: list[Process] = []
        marked: set[int] = set()
        for pid in _pids():
            if (one := _process(pid)) is not None:
                known.append(one)
                if self._is_marked(one):  # at once, since what forks on and on does not live long
                    marked.add(pid)
        below = _below(self._first, known)
        found = [one for one in known if one.pid in marked or one.pid in below]
        self._groups |= {one.group for one in found} - {os.getpgrp()}
        return found

    def kill(self) -> bool:
        """End those that are found; return whether there were any.

        By group, which the kernel does at once: what forks on and on would be gone before its turn came.
        """
        self.look()
        self._groups = {group for group in self._groups if _kill_group(group)}
        return bool(self._groups)

    def _is_marked(self, one: Process) -> bool:
        if self._others.get(one.pid) == one.started_at:
            return False
        try:
            environment = Path(f"/proc/{one.pid}/environ").read_bytes().split(b"\0")
        except OSError:  # another user's, or it has ended
            environment = []
        if self._mark in environment:
            return True
        self._others[one.pid] = one.started_at
        return False


def memory_of(tree: Collection[Process]) -> int:
    """Return the memory of processes together; what they share counts once (smaps_rollup)."""
    return sum(_proportional(one) for one in tree)


def _pids() -> Iterator[int]:
    with suppress(OSError):  # no /proc: limits on time alone hold
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                yield int(entry.name)


def _process(pid: int) -> Process | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if fields[0] in "ZX":
            return None
        parent, group, started_at, pages = (
            int(fields[at]) for at in (_PARENT, _GROUP, _STARTED_AT, _PAGES)
        )
    except (OSError, IndexError, ValueError):  # it has ended meanwhile
        return None
    return Process(pid, parent, group, started_at, pages * _PAGE_BYTES)


def _below(first: Process | None, known: Collection[Process]) -> set[int]:
    starts = {one.pid: one.started_at for one in known}
    if first is None or starts.get(first.pid) != first.started_at:
        return set()
    children: dict[int, list[int]] = {}
    for one in known:
        children.setdefault(one.parent, []).append(one.pid)
    found: set[int] = set()
    following = [first.pid]
    while following:
        pid = following.pop()
        found.add(pid)
        following += children.get(pid, [])
    return found


def _proportional(one: Process) -> int:
    with suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return one.memory_bytes


def _kill_group(group: int) -> bool:
    """Kill all processes of a group; False if it has none."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True
