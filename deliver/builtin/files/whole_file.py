"""Files that are there whole or not at all, whatever ends the process that writes them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

_READABLE = 0o444
_OWN = 0o600


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a file to write; it becomes `path`, synced, when the body ends well, and is gone if it does not.

    Whoever may read the folder may read the file. What attempts left that were killed is removed.
    """
    for left in path.parent.glob(f".{escape(path.name)}.*.part"):
        left.unlink(missing_ok=True)
    # Its own name: an attempt elsewhere whose lease was lost may not have heard of that yet.
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        yield part
        part.chmod(path.parent.stat().st_mode & _READABLE | _OWN)
        _sync(part)
        part.replace(path)
        _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
