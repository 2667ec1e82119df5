"""File descriptors: how many this process may have, whether they have run out, and what to say then.

Each connection and each open file takes one. When they have run out, the fault is this machine's, not that
of a model server, a disk or a client.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import islice
from pathlib import Path

log = logging.getLogger("batchline")

OTHERS = 64
"""Open files without any client: the database, locks, the ports, result segments."""
_WANTED = 65_536
_KEPT_BACK = 8  # needed to list what is open
_OUT = frozenset({errno.EMFILE, errno.ENFILE})
_OPEN = Path("/proc/self/fd")  # Linux
_MOST_LOOKED_AT = 10_000
_TELL_AGAIN_S = 60.0
_WATCH_S = 0.5
REMEDY = (
    "Raise the limit: ulimit -n 65536 (LimitNOFILE= in a unit of systemd, ulimits: nofile in a compose "
    "file), or lower BATCHLINE_MAX_CONNECTIONS and BATCHLINE_MAX_IN_FLIGHT."
)


def raise_limit() -> None:
    """Raise the soft limit of open files: each request in flight holds one or two, and 1,024 is common."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft > _WANTED:
        return
    allowed = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard - _KEPT_BACK)
    if allowed != soft and allowed > 0:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed > soft:
        log.info("raised the limit of open files (ulimit -n) from %d to %d", soft, allowed)


def limit() -> int:
    """Return how many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _WANTED if soft == resource.RLIM_INFINITY else soft


def are_out(exc: BaseException) -> bool:
    """Whether this came because no file descriptor was left, here or on the whole machine."""
    found: BaseException | None = exc
    while found is not None:
        if getattr(found, "errno", None) in _OUT:
            return True
        if isinstance(getattr(found, "os_error", found), socket.gaierror):
            return not is_one_left()  # resolving a name opens files; its error tells no cause
        found = found.__cause__ or found.__context__
    return False


def is_one_left() -> bool:
    """Whether one more file can be opened."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as exc:
        return exc.errno not in _OUT
    return True


def told() -> str:
    """Return the message that they have run out, with what is open and what to do."""
    kinds = ", ".join(f"{many:,} {kind}" for kind, many in _open_kinds().most_common())
    shown = f" ({kinds})" if kinds else ""
    return (
        "this process has run out of file descriptors: its limit of open files (ulimit -n) is "
        f"{limit():,}{shown}. {REMEDY}"
    )


def _open_kinds() -> Counter[str]:
    """Count what is open by kind, as far as /proc tells."""
    kinds: Counter[str] = Counter()
    with _a_few_more(), suppress(OSError), os.scandir(_OPEN) as found:
        for entry in islice(found, _MOST_LOOKED_AT):
            with suppress(OSError):
                kinds[_kind(Path(entry.path))] += 1
    return kinds


def _kind(descriptor: Path) -> str:
    target = str(descriptor.readlink())
    if target.startswith("socket:"):
        return "connections and other sockets"
    return "files" if target.startswith("/") else "others"


@contextmanager
def _a_few_more() -> Iterator[None]:
    """Raise the limit by what was kept back while the body runs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    more = soft + _KEPT_BACK
    if resource.RLIM_INFINITY in (soft, hard) or more > hard:
        yield
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Alarm:
    """Logs that they have run out: at once, then once a minute at most."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._tell_from = float("-inf")

    def sound(self) -> None:
        """Log it, unless that was done less than a minute ago."""
        now = self._monotonic()
        if now >= self._tell_from:
            self._tell_from = now + _TELL_AGAIN_S
            log.error("%s", told())


@asynccontextmanager
async def watched(alarm: Alarm) -> AsyncIterator[None]:
    """Check regularly while the body runs: a connection that cannot be accepted raises no error."""
    watching = asyncio.create_task(_watch(alarm), name="descriptors")
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(alarm: Alarm) -> None:
    while True:
        if not is_one_left():
            alarm.sound()
        await asyncio.sleep(_WATCH_S)
