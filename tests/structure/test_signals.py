"""The suite itself: what it interrupts can be interrupted, whoever runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
INTERRUPTED = "tests/cli/test_watch.py::test_ctrl_c_leaves_the_batch_running_and_says_so"


def test_processes_obey_sigint_also_when_the_suite_is_a_background_job():
    """A shell lets such a job ignore SIGINT, and what it starts would inherit that."""
    job = f"{sys.executable} -m pytest -q -p no:xdist {INTERRUPTED} & wait $!"

    done = subprocess.run(["sh", "-c", job], cwd=ROOT, capture_output=True, text=True)

    assert "1 passed" in done.stdout, done.stdout
