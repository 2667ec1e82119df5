"""How a test runs a scenario."""

from __future__ import annotations

import asyncio

import pytest

from .small_disks import CannotMount


async def holds(run, folder, **size):
    """Run a scenario in a thread of its own and check what it measured; skip where it cannot run."""
    try:
        measured = await asyncio.to_thread(run, folder, **size)
    except CannotMount as exc:
        pytest.skip(str(exc))
    print(measured)
    measured.check()
