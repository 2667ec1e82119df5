"""A small file system of its own for a data directory: full for a while, or read-only.

Mounting needs root and a kernel that permits it; without, a history is played without and says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import psutil
from waiting import pass_time

_FILLER = "filler"


def may_mount(folder: Path) -> bool:
    """Try whether this machine permits a tmpfs."""
    if os.geteuid() != 0:
        return False
    probe = folder / "probe"
    probe.mkdir()
    try:
        if _mount(probe, "size=1m").returncode:
            return False
        subprocess.run(["umount", str(probe)], check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        probe.rmdir()
    return True


class Disk:
    """The mounted file system."""

    def __init__(self, folder: Path, mib: int) -> None:
        self.folder = folder
        self._mib = mib

    def __enter__(self):
        self.folder.mkdir()
        done = _mount(self.folder, f"size={self._mib}m")
        if done.returncode:
            raise OSError(done.stderr.decode())
        return self

    def __exit__(self, *exc):
        subprocess.run(["umount", "-l", str(self.folder)], check=False, capture_output=True)

    def fill(self, left_kib: int) -> None:
        """Leave so much free, in one big file."""
        free = shutil.disk_usage(self.folder).free - left_kib * 1024
        with (self.folder / _FILLER).open("wb", buffering=0) as file:
            try:
                os.posix_fallocate(file.fileno(), 0, max(free, 1))
            except OSError:  # somebody was quicker: it is full
                return

    def make_room(self) -> None:
        """Take the big file away."""
        (self.folder / _FILLER).unlink(missing_ok=True)

    async def remount(self, how: str) -> bool:
        """Remount `ro` or `rw`; False if somebody still writes."""
        argv = ["mount", "-o", f"remount,{how}", str(self.folder)]
        for _ in range(50):
            if not subprocess.run(argv, check=False, capture_output=True).returncode:
                return True
            await pass_time(0.05)
        return False


def unmount_all(below: Path) -> None:
    """Unmount what histories left behind that were killed."""
    for mounted in psutil.disk_partitions(all=True):
        if Path(mounted.mountpoint).is_relative_to(below):
            subprocess.run(["umount", "-l", mounted.mountpoint], check=False, capture_output=True)


def _mount(folder, options):
    argv = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return subprocess.run(argv, check=False, capture_output=True)
