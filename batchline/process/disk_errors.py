"""What a disk that refuses means, in words: the thing, what is wrong with it, the remedy.

Turns the operating system's error codes into StoreUnavailable (DiskFull). Clients read these messages in a
503 or 507, people on the dashboard, in `/ready` and in the log.
For databases: `store/database/database_errors.py`.
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from batchline.errors import DiskFull, StoreUnavailable

from .descriptors import REMEDY

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_TRIAL_BYTES = 65_536  # more than SQLite asks for at once
MAKE_ROOM = "Delete files that are no longer needed, or give the data directory more room."
READ_ONLY = (
    "Mount the data directory's disk for writing. The kernel makes a disk that fails read-only: its log "
    "(dmesg) tells why."
)
_DISK_REMEDIES = {
    errno.EROFS: ("is read-only", READ_ONLY),
    errno.EACCES: (
        "may not be written by this user",
        "Give the user that runs batchline the data directory.",
    ),
    errno.EPERM: (
        "may not be written by this user",
        "Give the user that runs batchline the data directory.",
    ),
    errno.EIO: (
        "reports an input/output error",
        "Look at the kernel's log (dmesg): the disk may be failing.",
    ),
    errno.EMFILE: (
        "cannot be reached: this process has run out of file descriptors (ulimit -n)",
        REMEDY,
    ),
    errno.ENFILE: (
        "cannot be reached: this machine has run out of file descriptors",
        "Raise its limit (sysctl fs.file-max), or find what has so many files open (lsof).",
    ),
}


def disk_refusal(exc: OSError, *, what: str = "") -> StoreUnavailable:
    """Say why the disk of the data directory refuses; `what` names what was wanted of it."""
    if exc.errno in _FULL:
        return DiskFull(f"The disk of the data directory is full. {MAKE_ROOM}")
    known = _DISK_REMEDIES.get(exc.errno or 0)
    if known is None:
        return StoreUnavailable(f"The disk refuses {what}: {exc.strerror or exc}")
    wrong, remedy = known
    return StoreUnavailable(f"The disk of the data directory {wrong}. {remedy}")


def write_fault(folder: Path) -> OSError | None:
    """Write a little in the folder and delete it again; return what the disk says to that."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            left = _TRIAL_BYTES
            while left:  # a disk with a little room takes a part first, and refuses then
                left -= file.write(bytes(left))
            os.fsync(file.fileno())
    except OSError as exc:
        return exc
    return None
