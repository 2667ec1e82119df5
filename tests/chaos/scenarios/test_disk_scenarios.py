"""Full and read-only disks, scaled down: `make chaos-scenarios` runs them at full size."""

from __future__ import annotations

import pytest

from . import full_disk, read_only_disk
from .holds import holds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.mark.parametrize("kind", full_disk.KINDS)
async def test_a_full_disk_pauses_a_batch_and_loses_nothing(tmp_path, kind):
    """It says why, refuses uploads without leaving anything, and goes on by itself."""
    await holds(full_disk.run, tmp_path, kind=kind, count=1500, full_s=2)


async def test_a_read_only_disk_is_told_and_read(tmp_path):
    """Reads answer, writes and starts name the remedy, the batch completes once it is mended."""
    await holds(read_only_disk.run, tmp_path, count=800)
