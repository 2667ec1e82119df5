"""A directory that nothing was done to but kill -9: nothing is wrong with it, and looking changes nothing."""

from __future__ import annotations

import hashlib


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith("-shm")
    }


def test_a_directory_whose_processes_were_killed_is_sound(directory):
    """Leases and temporary files of the dead are noted, not held against it."""
    code, report = directory.fsck()

    assert code == 0, report
    assert report["ok"]
    assert {f["level"] for f in report["findings"]} <= {"ok", "warning"}
    assert tuple(
        f["check"] for f in report["findings"] if f["check"] in {"segments", "results"}
    ) == ("segments", "results")


def test_looking_changes_nothing(directory):
    """Not a byte of the directory."""
    before = contents(directory.data)

    directory.fsck()
    directory.fsck("--fast")

    assert contents(directory.data) == before
