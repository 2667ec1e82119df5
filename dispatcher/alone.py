"""The host's lock on a data directory: one dispatcher at a time, freed by the kernel when it dies.

Who owns it knows that every lease of this cell belongs to a dead process and takes it back at once.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from batchline.process.refusal import disk_refusal

log = logging.getLogger(__name__)

_TRY_EVERY_S = 0.2


@asynccontextmanager
async def alone(path: Path, stop: asyncio.Event) -> AsyncIterator[bool]:
    """Hold the lock file at `path`; waits while another process holds it (a standby).

    Yields False if `stop` was set before the lock was free.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as exc:
        raise disk_refusal(exc, what=f"the lock file {path}") from exc
    with file:
        waiting = False
        while not stop.is_set():
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waiting:
                    log.warning("another dispatcher works on %s; standing by", path.parent)
                waiting = True
                await asyncio.sleep(_TRY_EVERY_S)
            else:
                yield True
                return
        yield False
