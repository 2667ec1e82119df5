"""The README's Python snippets, verbatim, against real vLLM: what every newcomer runs first."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]


def test_the_readme_snippets_are_answered_by_both_backends(fleet, tmp_path):
    """Upload, create, poll, download 200 lines, stream a chat; each server answers at least 30 % of them."""
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    code = "".join(snippets)  # the second one goes on with the client of the first
    script = tmp_path / "snippet.py"
    script.write_text(code.replace("http://localhost:5000", fleet.url))

    def run():
        return subprocess.run(
            [sys.executable, script], capture_output=True, text=True, timeout=600, cwd=tmp_path
        )

    done, answered = fleet.shared(run)

    assert done.returncode == 0, done.stderr + fleet.story()
    assert "completed=200" in done.stdout
    assert sum(answered) >= 200
    assert min(answered) >= 60, answered
