"""A wall clock that jumps: libfaketime in the processes of a history. Monotonic time stays true."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def libfaketime() -> Path | None:
    """Find the multithreaded libfaketime, if it is installed."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return found[0] if found else None


def tidy(pids: Iterable[int]) -> None:
    """Take away what libfaketime leaves in shared memory when its process is killed."""
    for pid in pids:
        for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
            (Path("/dev/shm") / name).unlink(missing_ok=True)


class WallClock:
    """The file that says how far the processes' clock is off."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.offset_s = 0
        self.jump(0)

    def environment(self) -> dict[str, str]:
        """Return what makes a process follow this clock."""
        return {
            "LD_PRELOAD": str(libfaketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: float) -> None:
        """Move the clock at once, for all processes."""
        self.offset_s += int(seconds)
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{self.offset_s:+d}\n")
        fresh.replace(self._file)
