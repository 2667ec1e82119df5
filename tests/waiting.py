"""How tests wait: for a state, never for a time. Its imports are the standard library's: other programs use it, too.

What no state tells of, as how long a fault lasts or a server takes, goes through `pass_time` alone.
"""

from __future__ import annotations

import asyncio
import inspect
import time

PATIENCE_S = 150
"""Generous: it ends what would hang, and decides nothing."""


async def until(condition, *, within_s=PATIENCE_S, every_s=0.01, not_yet=(), saw=None):
    """Look until `condition()` is true, itself or when awaited; return what it gave.

    `not_yet`: errors of it that mean that it is not. `saw()` tells a wait in vain what was there instead.
    """
    deadline = time.monotonic() + within_s
    while True:
        try:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return found
        except not_yet as exc:
            found = exc
        _check(deadline, within_s, found, saw)
        await asyncio.sleep(every_s)  # what is waited for may happen in another process


def wait_until(condition, *, within_s=PATIENCE_S, every_s=0.02, not_yet=(), saw=None):
    """Do as `until` does, outside of a loop."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            if found := condition():
                return found
        except not_yet as exc:
            found = exc
        _check(deadline, within_s, found, saw)
        time.sleep(every_s)  # as above


async def turn(times=1):
    """Let everything run once that could; more often, and what that sets going runs, too."""
    for _ in range(times):
        await asyncio.sleep(0)  # no time: one turn of the loop


async def pass_time(seconds):
    """Let real time pass, where time is the matter: what a server takes for an answer, what a fault lasts."""
    await asyncio.sleep(seconds)  # nothing tells of it but the clock


def _check(deadline, within_s, found, saw):
    if time.monotonic() > deadline:
        raise AssertionError(f"waited {within_s:g} s in vain: {saw() if saw else repr(found)}")
