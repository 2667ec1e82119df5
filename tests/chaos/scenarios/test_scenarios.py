"""No backend, scaled down: `make chaos-scenarios` runs it, many kills and a poison line at full size.

Kills at any moment are in every history, poison lines in tests/dispatcher/test_poison.py.
"""

from __future__ import annotations

import pytest

from . import all_down
from .holds import holds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


async def test_without_any_backend_nothing_fails_and_nothing_stampedes(tmp_path):
    """The reason is shown; work resumes soon after their return, and gently."""
    await holds(all_down.run, tmp_path, count=2500, down_s=5)
