"""What a database that refuses means, in words: SQLite's error codes as StoreUnavailable (DiskFull)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from batchline.errors import DiskFull, StoreUnavailable
from batchline.process.disk_errors import MAKE_ROOM, READ_ONLY, disk_refusal, write_fault

_OF_THE_DISK = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
_REMEDIES = {
    sqlite3.SQLITE_BUSY: (
        "is held by another process for too long",
        "Ask again; if it stays so, find the process that has the file open.",
    ),
    sqlite3.SQLITE_READONLY: ("is read-only", READ_ONLY),
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


def is_busy(exc: sqlite3.Error) -> bool:
    """Whether another process is in the way."""
    return _code(exc) == sqlite3.SQLITE_BUSY


def database_refusal(
    exc: sqlite3.Error, *, where: str = "", folder: Path | None = None
) -> StoreUnavailable:
    """Say why the database refuses; `where` (" at PATH") tells which one.

    SQLite says little about a disk that fails: if `folder` is given, the disk is asked itself.
    """
    code = _code(exc)
    if code == sqlite3.SQLITE_FULL:
        return DiskFull(f"The database{where} cannot grow: the disk is full. {MAKE_ROOM}")
    if code in _OF_THE_DISK and folder is not None and (fault := write_fault(folder)) is not None:
        return disk_refusal(fault, what=f"the database{where}")
    known = _REMEDIES.get(code)
    if known is None:
        return StoreUnavailable(f"The database{where} refuses: {exc}")
    wrong, remedy = known
    return StoreUnavailable(f"The database{where} {wrong} ({exc}). {remedy}")


def _code(exc: sqlite3.Error) -> int:
    """Return SQLite's plain code; extended ones hold it in their lowest byte."""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF
