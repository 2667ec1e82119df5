"""What a disk or a database that refuses means, in words: the thing, what is wrong with it, the remedy.

Turns the operating system's and SQLite's error codes into StoreUnavailable (DiskFull); nothing else knows
them. Clients read these messages in a 503 or 507, people on the dashboard, in `/ready` and in the log.
"""

from __future__ import annotations

import errno
import sqlite3

from .errors import DiskFull, StoreUnavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_MAKE_ROOM = "Delete files that are no longer needed, or give the data directory more room."
_READ_ONLY = (
    "Mount the data directory's disk for writing. The kernel makes a disk that fails read-only: its log "
    "(dmesg) tells why."
)
_DISK_REMEDIES = {
    errno.EROFS: ("is read-only", _READ_ONLY),
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
        "cannot be reached: this process has too many open files",
        "Raise its limit of open files (ulimit -n).",
    ),
}
_DATABASE_REMEDIES = {
    sqlite3.SQLITE_BUSY: (
        "is held by another process for too long",
        "Ask again; if it stays so, find the process that has the file open.",
    ),
    sqlite3.SQLITE_READONLY: ("is read-only", _READ_ONLY),
    sqlite3.SQLITE_IOERR: (
        "cannot be read or written: the disk reports an error",
        "See that the disk is mounted for writing and not full, and look at the kernel's log (dmesg).",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        (
            "See that the data directory exists, that the user who runs batchline may write there, and "
            "that its disk is neither full nor read-only."
        ),
    ),
    sqlite3.SQLITE_CORRUPT: ("is damaged", "Stop batchline and restore a backup."),
    sqlite3.SQLITE_NOTADB: (
        "is no database of batchline's",
        "Name another data directory, or restore a backup.",
    ),
}


def disk_refusal(exc: OSError, *, what: str = "") -> StoreUnavailable:
    """Say why the disk of the data directory refuses; `what` names what was wanted of it."""
    if exc.errno in _FULL:
        return DiskFull(f"The disk of the data directory is full. {_MAKE_ROOM}")
    known = _DISK_REMEDIES.get(exc.errno or 0)
    if known is None:
        return StoreUnavailable(f"The disk refuses {what}: {exc.strerror or exc}")
    wrong, remedy = known
    return StoreUnavailable(f"The disk of the data directory {wrong}. {remedy}")


def database_refusal(exc: sqlite3.Error, *, where: str = "") -> StoreUnavailable:
    """Say why the database refuses; `where` (" at PATH") tells which one."""
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF  # extended codes hold the plain one below
    if code == sqlite3.SQLITE_FULL:
        return DiskFull(f"The database{where} cannot grow: the disk is full. {_MAKE_ROOM}")
    known = _DATABASE_REMEDIES.get(code)
    if known is None:
        return StoreUnavailable(f"The database{where} refuses: {exc}")
    wrong, remedy = known
    return StoreUnavailable(f"The database{where} {wrong} ({exc}). {remedy}")
