"""What every long-running process shares: uvloop, logging, signals to a stop event, exit code.

A service is an async function that takes a stop event. The first SIGTERM or SIGINT sets the event; the second
ends the process at once.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from batchline.errors import BatchlineError

from .descriptors import raise_limit

_PR_SET_PDEATHSIG = 1
_FORCED_EXIT = 130
_ECHO_S = 1.0
"""When a parent dies, the kernel sends its signal once for each thread of it: these count as one."""

log = logging.getLogger("batchline")


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        elif record.exc_text:
            entry["traceback"] = record.exc_text
        return json.dumps(entry)


def set_up_logging(level: str = "INFO", *, as_json: bool = False) -> None:
    """Log one line per event to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    if as_json:
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)


def die_with_parent(by: signal.Signals) -> None:
    """Have the kernel send this signal when the parent dies (on Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, by)


def _outlive_parent() -> None:
    """Undo `die_with_parent`: the signal would end at once a process that finishes its work."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, 0)


def _has_died(parent: int) -> bool:
    """Whether the parent is dead, or its first thread has ended while others have not yet."""
    if os.getppid() != parent:
        return True
    try:
        stat = Path(f"/proc/{parent}/stat").read_text()
    except OSError:  # it ended just now, or there is no /proc
        return False
    return stat.rpartition(")")[2].split()[0] in "ZX"


def run_service(serve: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run `serve(stop)` on uvloop until it returns; return the exit code (0 fine, 1 failed)."""
    _calm_the_collector()
    raise_limit()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_with_signals(serve))
    except* BatchlineError as group:
        for exc in _leaves(group):
            log.error("%s", exc)  # noqa: TRY400 - the message says all; a traceback would hide it
        return_code = 1
    else:
        return_code = 0
    return return_code


def _calm_the_collector() -> None:
    """Collect cycles rarely: old objects are frozen, young ones are mostly freed by reference count.

    Measured: the collector took a fifth of the dispatcher's time to scan requests in flight.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def give_back_memory() -> None:
    """Return free memory to the system, which glibc's allocator keeps.

    Takes some milliseconds for each 100 MB.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [
        leaf
        for exc in group.exceptions
        for leaf in (_leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc])
    ]


async def _with_signals(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    parent, asked_at = os.getppid(), 0.0

    def on_signal() -> None:
        nonlocal asked_at
        if not stop.is_set():
            asked_at = loop.time()
            _outlive_parent()
            log.info("stopping; send the signal again to stop at once")
            stop.set()
        elif loop.time() - asked_at > _ECHO_S or not _has_died(parent):
            os._exit(_FORCED_EXIT)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        await serve(stop)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
