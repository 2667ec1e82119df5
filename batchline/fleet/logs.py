"""Keeps the logs of this host's programs bounded while the programs run.

Each program writes to its file itself, so that nothing is lost if the supervisor is killed. A file that has
grown is therefore copied and then emptied while the program has it open: every writer appends, so it
continues at the beginning. What is written in the microseconds between the two is lost.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

LOG_BYTES = 20 * 1024 * 1024
OLD_LOGS = 4
"""A log and its four old ones take 100 MB at most, as in the compose files."""
LOOK_S = 1.0

_PIECE_BYTES = 1 << 20

log = logging.getLogger(__name__)


async def keep_bounded(
    logs: Iterable[Path], *, most_bytes: int = LOG_BYTES, look_s: float = LOOK_S
) -> None:
    """Turn over what has grown beyond `most_bytes`, until cancelled."""
    logs = tuple(logs)
    told: set[Path] = set()
    while True:
        for path in logs:
            try:
                turn_over(
                    path, most_bytes=most_bytes
                )  # not in a thread: the kernel signals the children when the thread that started them ends
            except OSError as exc:
                if path not in told:
                    log.warning("%s cannot be turned over: %s", path, exc.strerror)
                    told.add(path)
        await asyncio.sleep(look_s)


def turn_over(path: Path, *, most_bytes: int) -> None:
    """Empty a log of more than `most_bytes`; its end becomes `.1`, and each old one moves on.

    If the disk has no room for the copy, the old content is lost: a log never fills a disk. Raises
    OSError: the log itself cannot be emptied.
    """
    if not path.exists() or path.stat().st_size <= most_bytes:
        return
    with suppress(OSError):
        for number in range(OLD_LOGS, 1, -1):
            if _old(path, number - 1).exists():
                _old(path, number - 1).replace(_old(path, number))
    try:
        _copy_end(path, _old(path, 1), most_bytes=most_bytes)
    except OSError:
        _old(path, 1).unlink(missing_ok=True)
    os.truncate(path, 0)


def _old(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _copy_end(source: Path, target: Path, *, most_bytes: int) -> None:
    """Copy the last `most_bytes`, and what is written meanwhile up to as much again."""
    left = 2 * most_bytes
    with source.open("rb") as reader, target.open("wb") as writer:
        reader.seek(max(0, source.stat().st_size - most_bytes))
        while left > 0 and (piece := reader.read(min(_PIECE_BYTES, left))):
            writer.write(piece)
            left -= len(piece)
