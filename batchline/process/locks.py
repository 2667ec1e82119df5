"""The locks on a data directory: they tell which processes work on it on this host.

One dispatcher holds a data directory's `dispatcher.lock`; gateways share its `gateway.lock`, and deliverers
its `deliverer.lock`. A command that needs the directory to itself takes all of them. Supervisors share
`supervisor.lock` in two ways: as a record lock, which ends with their process, and as a file lock, which
their reaper inherits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO

from batchline.errors import Conflict
from batchline.process.disk_errors import disk_refusal

from .file_lock import lock, try_lock

log = logging.getLogger(__name__)

DISPATCHER_LOCK = "dispatcher.lock"
GATEWAY_LOCK = "gateway.lock"
DELIVERER_LOCK = "deliverer.lock"
SUPERVISOR_LOCK = "supervisor.lock"
_WHO = {
    DISPATCHER_LOCK: "a dispatcher",
    GATEWAY_LOCK: "a gateway",
    DELIVERER_LOCK: "a deliverer",
}
_TRY_EVERY_S = 0.2


def present(
    data_dir: Path, stop: asyncio.Event, *, name: str = GATEWAY_LOCK
) -> AbstractAsyncContextManager[bool]:
    """Hold the lock `name` of `data_dir` while the body runs; waits while `to_oneself` holds it.

    Yields False if `stop` was set first. Raises StoreUnavailable.
    """
    news = f"'batchline fsck --repair' works on {data_dir}; waiting"
    return _holding(data_dir / name, stop, is_shared=True, news=news)


def only_dispatcher(data_dir: Path, stop: asyncio.Event) -> AbstractAsyncContextManager[bool]:
    """Hold the lock of the dispatcher of `data_dir` while the body runs; waits as a standby for another one.

    Its holder knows that every lease of this cell belongs to a dead process, and takes it back at once.
    Yields False if `stop` was set first. Raises StoreUnavailable.
    """
    news = f"another dispatcher works on {data_dir}; standing by"
    return _holding(data_dir / DISPATCHER_LOCK, stop, is_shared=False, news=news)


@asynccontextmanager
async def _holding(
    path: Path, stop: asyncio.Event, *, is_shared: bool, news: str
) -> AsyncIterator[bool]:
    """Hold a lock while the body runs; `news` is logged once if it has to be waited for."""
    with _opened(path, "w") as file:
        is_told = False
        while not stop.is_set():
            if try_lock(file, is_shared=is_shared):
                yield True
                return
            if not is_told:
                log.warning(news)
            is_told = True
            await asyncio.sleep(_TRY_EVERY_S)
        yield False


def at_work(data_dir: Path) -> list[str]:
    """Name the processes that work on `data_dir` at present."""
    found = []
    for name, who in _WHO.items():
        path = data_dir / name
        if path.exists():
            with _opened(path, "r") as file:
                if not try_lock(file):
                    found.append(who)
    return found


@contextmanager
def to_oneself(data_dir: Path) -> Iterator[None]:
    """Hold these locks while the body runs; processes that start meanwhile wait. Raises Conflict."""
    with ExitStack() as stack:
        for name, who in _WHO.items():
            file = stack.enter_context(_opened(data_dir / name, "w"))
            if not try_lock(file):
                raise Conflict(f"{who.capitalize()} works on {data_dir}: stop it first.")
        yield


@contextmanager
def supervising(data_dir: Path) -> Iterator[int]:
    """Hold the lock of a supervisor while the body runs; yields the descriptor for the reaper."""
    with _opened(data_dir / SUPERVISOR_LOCK, "w+") as file:
        for is_record in (False, True):  # waits a moment at most, while another process checks them
            lock(file, is_shared=True, is_record=is_record)
        yield file.fileno()


def is_left_behind(data_dir: Path) -> bool:
    """Whether children of a killed supervisor of `data_dir` are still ending."""
    path = data_dir / SUPERVISOR_LOCK
    if not path.exists():
        return False
    with _opened(path, "r+") as file:
        return not try_lock(file) and try_lock(file, is_record=True)


@contextmanager
def _opened(path: Path, mode: str) -> Iterator[IO[str]]:
    try:
        if mode.startswith("w"):
            path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open(mode)
    except OSError as exc:
        raise disk_refusal(exc, what=f"the lock file {path}") from exc
    with file:
        yield file
