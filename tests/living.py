"""Looking at processes that may end between two looks."""

from __future__ import annotations

import psutil


def words_of(process: psutil.Process) -> list[str]:
    """Return its name and its command line; nothing where it has ended since it was listed."""
    try:
        return [process.name(), *process.cmdline()]
    except psutil.Error:
        return []


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs: one that ended and that nobody has waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
