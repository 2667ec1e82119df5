"""Why a disk or a database refuses: each kind names the thing and the remedy."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
from contextlib import contextmanager

import pytest

from batchline.errors import DiskFull
from batchline.process.disk_errors import disk_refusal
from batchline.store.database.database_errors import database_refusal


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_without_room_is_full(number):
    """A quota that is used up is the same to us."""
    refusal = disk_refusal(OSError(number, os.strerror(number)))

    assert isinstance(refusal, DiskFull)
    assert str(refusal).startswith("The disk of the data directory is full. Delete files")


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EROFS, "The disk of the data directory is read-only. Mount"),
        (errno.EACCES, "The disk of the data directory may not be written by this user. Give"),
        (errno.EIO, "The disk of the data directory reports an input/output error. Look"),
        (errno.EXDEV, "The disk refuses files/a: Invalid cross-device link"),
    ],
)
def test_other_refusals_of_the_disk(number, message):
    """What is not known is passed on as it is."""
    refusal = disk_refusal(OSError(number, os.strerror(number)), what="files/a")

    assert not isinstance(refusal, DiskFull)
    assert str(refusal).startswith(message)


def refused(code, text):
    exc = sqlite3.OperationalError(text)
    exc.sqlite_errorcode = code
    return database_refusal(exc, where=" at /data/x.sqlite3")


def test_a_database_that_cannot_grow_is_a_full_disk():
    """Answered as such: 507."""
    assert isinstance(refused(sqlite3.SQLITE_FULL, "database or disk is full"), DiskFull)


@pytest.mark.parametrize(
    ("code", "text", "message"),
    [
        (
            sqlite3.SQLITE_READONLY_DBMOVED,
            "attempt to write a readonly database",
            "The database at /data/x.sqlite3 is read-only (attempt to write a readonly database). Mount",
        ),
        (sqlite3.SQLITE_BUSY, "database is locked", "The database at /data/x.sqlite3 is held by"),
        (sqlite3.SQLITE_IOERR_WRITE, "disk I/O error", "The database at /data/x.sqlite3 cannot be"),
        (
            sqlite3.SQLITE_ERROR,
            "no such table: x",
            "The database at /data/x.sqlite3 refuses: no such",
        ),
    ],
)
def test_other_refusals_of_the_database(code, text, message):
    """Extended codes count as their plain ones."""
    assert str(refused(code, text)).startswith(message)


@contextmanager
def files_of_at_most(size_bytes):
    """Let the kernel cut every write there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_disk_is_asked_where_sqlite_says_little(tmp_path):
    """A folder that is gone stands for a disk that fails; one that can be written is not to blame."""
    exc = sqlite3.OperationalError("disk I/O error")
    exc.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE

    gone = database_refusal(exc, folder=tmp_path / "gone")
    fine = database_refusal(exc, folder=tmp_path)
    with files_of_at_most(4096):
        cut = database_refusal(exc, folder=tmp_path)

    assert str(cut) == "The disk refuses the database: File too large"
    assert str(gone) == "The disk refuses the database: No such file or directory"
    assert str(fine).startswith("The database cannot be read or written: the disk reports an error")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_told(tmp_path):
    """A real code of SQLite's own."""
    path = tmp_path / "x.sqlite3"
    path.write_bytes(b"nonsense" * 1000)

    with pytest.raises(sqlite3.DatabaseError) as caught:
        sqlite3.connect(path).execute("SELECT * FROM x")

    assert "no database of batchline's" in str(database_refusal(caught.value))
