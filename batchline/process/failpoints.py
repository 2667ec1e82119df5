"""Named points at which a test makes the process die, fail, stall or write only half of its bytes.

    BATCHLINE_TEST_FAILPOINTS="settle.appended=crash@3; publish.renamed=error; segment.append=torn"

An action is `crash` (as by kill -9), `error` (StoreUnavailable, as from a disk or a database that
refuses), `sleep:SECONDS` (the thread that passes the point stalls) or `torn` (half of the bytes, then a
crash; for points that write). If that thread runs the event loop, the process stalls. `settle.rows`,
`append.rows`, `publish.rows` and `migrate.statement` are passed in the thread of the database's
connection, `blob.*` and `segment.*` in that of a write: only what waits for these stalls. `@N` means at
the Nth pass only (default: the first), `@*` at every pass. A point that is not armed costs one look at an
empty table.
The only module with global state, since points are in every layer.
"""

from __future__ import annotations

import logging
import os
import re
import select
import signal
import time
from dataclasses import dataclass
from enum import StrEnum

from batchline.errors import Invalid, StoreUnavailable

log = logging.getLogger(__name__)

POINTS = {
    "blob.written": "a file's bytes are synced, not yet renamed into place",
    "blob.renamed": "they are in place, and no row names them yet",
    "upload.stored": "an uploaded file has its row, its client knows nothing of it",
    "append.rows": "the rows of an append are written, not committed",
    "append.stored": "they are committed, their client knows nothing of it",
    "admit.chunk": "a run of slices is stored, the batch is not accepted yet",
    "admit.accepted": "the batch is in progress",
    "claim.leased": "slices are leased, nobody knows of them yet",
    "claim.read": "their bodies are read, nothing is sent yet",
    "send.before": "a request is about to be sent",
    "send.answered": "its answer is here, and only in memory",
    "segment.append": "results are about to be appended to a segment",
    "segment.appended": "they are appended, not synced",
    "settle.synced": "they are durable, and no row names them yet",
    "settle.rows": "their rows are written, not committed",
    "settle.committed": "their rows are committed, nobody knows of it yet",
    "publish.joined": "what was appended is one file, the batch is not closed yet",
    "publish.rows": "the closing transaction is written, not committed",
    "publish.closed": "the batch is closed, nobody knows of it yet",
    "sweep.deleted": "bytes are deleted, their keys still count as garbage",
    "migrate.statement": "a migration is under way",
    "backup.snapshot": "a backup has its copy of the database, and no bytes yet",
    "backup.copied": "a backup is whole, and not yet in its place",
}
"""Every point, and what has happened when the process passes it."""


class Action(StrEnum):
    """What happens at an armed point."""

    CRASH = "crash"
    ERROR = "error"
    SLEEP = "sleep"
    TORN = "torn"


@dataclass(slots=True)
class _Armed:
    action: Action
    seconds: float
    only_at: int | None
    passes: int = 0

    def is_due(self) -> bool:
        self.passes += 1
        return self.only_at is None or self.passes == self.only_at


_SPEC = re.compile(r"([a-z.]+)=(crash|error|torn|sleep):?([0-9.]+)?(?:@([0-9]+|\*))?")
_armed: dict[str, _Armed] = {}


def arm(text: str) -> None:
    """Arm the points named in `text`, and no others. Raises Invalid where it cannot be read."""
    found = {}
    for spec in filter(None, (part.strip() for part in text.split(";"))):
        match = _SPEC.fullmatch(spec)
        if match is None or match[1] not in POINTS:
            raise Invalid(
                f"No such failpoint: {spec!r}. Write POINT=crash|error|sleep:SECONDS|torn, then @N "
                f"or @* if wanted; the points are {', '.join(POINTS)}."
            )
        name, action, seconds, turn = match.groups()
        count = None if turn == "*" else int(turn or 1)
        found[name] = _Armed(Action(action), float(seconds or 1), count)
    _armed.clear()
    _armed.update(found)


def failpoint(name: str) -> None:
    """Pass the point `name`. Raises StoreUnavailable where it is armed with `error`."""
    if _armed and name in _armed and _armed[name].is_due():
        _happen(name, _armed[name])


def written(name: str, data: bytes) -> bytes:
    """Pass a point that writes: return the bytes to write. Call `crash_if_torn` after the write."""
    if _armed and name in _armed and _armed[name].is_due():
        if _armed[name].action is Action.TORN:
            log.warning("failpoint %s: torn", name)
            return data[: len(data) // 2]
        _happen(name, _armed[name])
    return data


def crash_if_torn(part: bytes, whole: bytes) -> None:
    """Kill the process if `written` cut the bytes."""
    if part is not whole:
        _crash()


def _happen(name: str, armed: _Armed) -> None:
    log.warning("failpoint %s: %s", name, armed.action)
    match armed.action:
        case Action.SLEEP:
            select.select([], [], [], armed.seconds)  # not time.sleep: tests move the clock
        case Action.ERROR:
            raise StoreUnavailable(f"The failpoint {name} is armed with an error.")
        case Action.CRASH | Action.TORN:
            _crash()


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)  # the signal arrives before this ends
