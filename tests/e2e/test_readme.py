"""The README's Python snippets, verbatim, against real vLLM: what every newcomer runs first."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "examples" / "quickstart.jsonl"


def test_the_readme_snippets_are_answered_by_both_backends(fleet, tmp_path):
    """Upload, create, poll, download, stream a chat; of 120 lines each server answers at least 30 %."""
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    code = "".join(snippets)  # the second one goes on with the client of the first
    script = tmp_path / "snippet.py"
    script.write_text(code.replace("http://localhost:5000", fleet.url))
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "quickstart.jsonl").write_text(many_lines(120))

    def run():
        return subprocess.run(
            [sys.executable, script], capture_output=True, text=True, timeout=600, cwd=tmp_path
        )

    done, answered = fleet.shared(run)

    assert done.returncode == 0, done.stderr + fleet.story()
    assert done.stdout.count('"custom_id":') == 120
    assert sum(answered) >= 120
    assert min(answered) >= 36, answered


def many_lines(count):
    """The lines of the quickstart again and again, with ids of their own and short answers."""
    lines = [json.loads(line) for line in QUICKSTART.read_text().splitlines()]
    made = [lines[n % len(lines)] | {"custom_id": f"line-{n}"} for n in range(count)]
    for line in made:
        line["body"]["max_tokens"] = 16
    return "".join(json.dumps(line) + "\n" for line in made)
