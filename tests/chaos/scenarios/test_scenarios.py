"""The long scenarios, scaled down: what `make chaos-scenarios` runs at full size."""

from __future__ import annotations

import asyncio

import pytest

from . import full_disk, many_kills, read_only_disk
from .small_disks import CannotMount

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


async def holds(run, folder, **size):
    """Run a scenario in a thread of its own and check what it measured."""
    try:
        measured = await asyncio.to_thread(run, folder, **size)
    except CannotMount as exc:
        pytest.skip(str(exc))
    print(measured)
    measured.check()


async def test_kills_at_any_moment_lose_and_double_nothing(tmp_path):
    """Dispatcher, gateway and nginx; what is sent again is what was in flight."""
    await holds(many_kills.run, tmp_path, count=1000, kills=8)


@pytest.mark.parametrize("kind", full_disk.KINDS)
async def test_a_full_disk_pauses_a_batch_and_loses_nothing(tmp_path, kind):
    """It says why, refuses uploads without leaving anything, and goes on by itself."""
    await holds(full_disk.run, tmp_path, kind=kind, count=2000, full_s=3)


async def test_a_read_only_disk_is_told_and_read(tmp_path):
    """Reads answer, writes and starts name the remedy, the batch completes once it is mended."""
    await holds(read_only_disk.run, tmp_path, count=1000)
