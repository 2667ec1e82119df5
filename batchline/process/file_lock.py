"""Locks on open files, between processes of this host. The only module that asks the kernel for them.

The kernel frees a lock when its file is closed, and so when its process ends, even if that is killed.
"""

from __future__ import annotations

import fcntl
from typing import IO, Any


def lock(file: IO[Any], *, is_shared: bool = False, is_record: bool = False) -> None:
    """Lock a file for this process alone, or shared; waits for its holders.

    `is_record`: a record lock, which children do not inherit.
    """
    _call(file, fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX, is_record=is_record)


def try_lock(file: IO[Any], *, is_shared: bool = False, is_record: bool = False) -> bool:
    """Lock a file as `lock` does, if nobody holds it; return whether it is locked now."""
    how = fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX
    try:
        _call(file, how | fcntl.LOCK_NB, is_record=is_record)
    except BlockingIOError:
        return False
    return True


def _call(file: IO[Any], how: int, *, is_record: bool) -> None:
    (fcntl.lockf if is_record else fcntl.flock)(file, how)
