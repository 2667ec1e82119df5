"""Many kills, no backend, a poison line, scaled down: `make chaos-scenarios` runs them at full size."""

from __future__ import annotations

import pytest

from . import all_down, many_kills, poison_line
from .holds import holds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


async def test_kills_at_any_moment_lose_and_double_nothing(tmp_path):
    """Dispatcher, gateway and nginx; what is sent again is what was in flight."""
    await holds(many_kills.run, tmp_path, count=800, kills=6)


async def test_without_any_backend_nothing_fails_and_nothing_stampedes(tmp_path):
    """The reason is shown; work resumes soon after their return, and gently."""
    await holds(all_down.run, tmp_path, count=2500, down_s=5)


@pytest.mark.parametrize("servers", [1, 3])
async def test_a_poison_line_fails_alone(tmp_path, servers):
    """It kills a few servers, then it is the only line without an answer."""
    await holds(poison_line.run, tmp_path, count=400, servers=servers)
