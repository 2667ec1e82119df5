"""Small file systems that a scenario may fill, or make fail as the kernel does; root is needed."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MIB = 1 << 20


class CannotMount(Exception):
    """This machine does not let us mount a file system; the message says why."""


def _mount(*words: str) -> None:
    if shutil.which("mount") is None or os.geteuid():
        raise CannotMount("only root may mount a small disk, which this scenario needs")
    done = subprocess.run(["mount", *words], capture_output=True, text=True)
    if done.returncode:
        raise CannotMount(f"mounting a small disk is not permitted here: {done.stderr.strip()}")


def _unmount(folder: Path) -> None:
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_disk(folder: Path, *, size_mib: int, inodes: int) -> Iterator[Path]:
    """Mount a disk in memory and yield its folder. Raises CannotMount."""
    disk = folder / "disk"
    disk.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size_mib}m,nr_inodes={inodes}", "batchline", str(disk))
    try:
        yield disk
    finally:
        _unmount(disk)


class FailingDisk:
    """An ext4 file system in a file, which can fail: the kernel makes it read-only then."""

    def __init__(self, folder: Path, *, size_mib: int) -> None:
        self.path = folder / "disk"
        self._image = folder / "disk.img"
        self.path.mkdir()
        if shutil.which("mkfs.ext4") is None:
            raise CannotMount("mkfs.ext4 is missing, which makes the disk of this scenario")
        with self._image.open("wb") as image:
            image.truncate(size_mib * MIB)
        subprocess.run(["mkfs.ext4", "-q", str(self._image)], check=True, capture_output=True)
        self.mount()

    def mount(self) -> None:
        """Mount it for writing; its journal mends it if it failed."""
        _mount("-o", "loop", str(self._image), str(self.path))

    def fail(self) -> None:
        """Let it fail under whoever has files open: from now on it is read-only."""
        _mount("-o", "remount,abort", str(self.path))

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.path)], check=True)


@contextmanager
def failing_disk(folder: Path, *, size_mib: int) -> Iterator[FailingDisk]:
    """Make and mount such a disk. Raises CannotMount."""
    disk = FailingDisk(folder, size_mib=size_mib)
    try:
        yield disk
    finally:
        _unmount(disk.path)


class Filler:
    """Takes room on a disk and gives it back."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk

    @property
    def free_bytes(self) -> int:
        found = os.statvfs(self._disk)
        return found.f_bavail * found.f_frsize

    def leave(self, free_bytes: int) -> None:
        """Leave so many bytes free, giving some back if need be."""
        with (self._disk / "filler").open("ab", buffering=0) as file:
            if self.free_bytes < free_bytes:
                wanted = file.tell() - (free_bytes - self.free_bytes)
                os.ftruncate(file.fileno(), max(0, wanted))
            while (left := self.free_bytes - free_bytes) > 0:
                try:
                    file.write(bytes(min(left, MIB)))
                except OSError as exc:
                    if exc.errno != errno.ENOSPC:
                        raise
                    return

    def take_inodes(self) -> None:
        """Leave no inode."""
        n = 0
        while True:
            try:
                (self._disk / f"filler-{n}").touch(exist_ok=False)
            except FileExistsError:
                pass
            except OSError as exc:
                if exc.errno != errno.ENOSPC:
                    raise
                return
            n += 1

    def give_back(self) -> None:
        for path in self._disk.glob("filler*"):
            path.unlink()
