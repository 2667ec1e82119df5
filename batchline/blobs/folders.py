"""Folders of the local blob store: the owners of temporary files, walking, moving, syncing.

A temporary file belongs to the process that holds the kernel's lock on it. The lock ends with the process,
even if that is killed, so that names and times need not tell which files are left over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from batchline.process.file_lock import lock, try_lock


def create_claimed(path: Path) -> BinaryIO:
    """Create a file that this process owns until it is closed."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb", buffering=0)
        lock(file)  # waits at most for a sweep that checks the file right now
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # a sweep deleted it between its creation and the lock


def abandoned(folder: Path) -> Iterator[int]:
    """Yield the size of each file whose process is gone."""
    return (size for path in walk(folder) if (size := _size_if_abandoned(path, drop=False)) >= 0)


def drop_abandoned(folder: Path, *, at_most: int) -> tuple[int, int]:
    """Delete up to `at_most` files whose process is gone; return how many and their bytes."""
    dropped = (size for path in walk(folder) if (size := _size_if_abandoned(path, drop=True)) >= 0)
    sizes = list(islice(dropped, at_most))
    return len(sizes), sum(sizes)


def _size_if_abandoned(path: str, *, drop: bool) -> int:
    """Return the size of a file that was left over, or -1."""
    with suppress(FileNotFoundError), Path(path).open("rb") as file:
        if not try_lock(file):
            return -1
        size_bytes = os.fstat(file.fileno()).st_size
        if drop:
            os.unlink(path)  # noqa: PTH108 - no longer there if it was committed just now
        return size_bytes
    return -1


def walk(folder: Path | str) -> Iterator[str]:
    """Yield the path of every file below `folder`, in no order; holds one entry in memory a level."""
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):  # removed meanwhile
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from walk(entry.path)
            else:
                yield entry.path


def move(source: Path, target: Path) -> None:
    """Rename, making the target's folder; an emptied folder may be removed by others meanwhile."""
    for _ in range(3):
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            source.replace(target)
            return
    source.replace(target)


def remove(path: Path) -> None:
    """Delete a file if it is there, and its folder if that is empty now."""
    path.unlink(missing_ok=True)
    with suppress(OSError):  # not empty, or gone
        path.parent.rmdir()


def sync(path: Path) -> None:
    """Make a file's bytes durable, or what a folder lists."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
