"""Run the long acceptance scenarios at full size and print what they measured.

    PYTHONPATH=tests python -m chaos.scenarios [NAME ...]

Exit code 1 if any does not hold. `test_scenarios.py` runs them scaled down.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import all_down, full_disk, many_kills, poison_line, read_only_disk
from .small_disks import CannotMount

SCENARIOS: dict[str, Callable[[Path], object]] = {
    "many-kills": many_kills.run,
    **{f"full-disk-{kind}": partial(full_disk.run, kind=kind) for kind in full_disk.KINDS},
    "read-only-disk": read_only_disk.run,
    "all-down": all_down.run,
    "poison-line-1": partial(poison_line.run, servers=1),
    "poison-line-3": partial(poison_line.run, servers=3),
}


def main(names: list[str]) -> int:
    """Run the named scenarios, or all; return how many did not hold."""
    if unknown := set(names) - set(SCENARIOS):
        print(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
        return 1
    outcomes = [_holds(name) for name in names or SCENARIOS]
    return int(False in outcomes)


def _holds(name: str) -> bool | None:
    """Run one scenario and print what it measured; None where this machine cannot run it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="batchline-") as folder:
        try:
            measured = SCENARIOS[name](Path(folder))
        except CannotMount as exc:
            print(f"{name}: not run: {exc}", flush=True)
            return None
    try:
        measured.check()
    except AssertionError as exc:
        word, holds = f"DOES NOT HOLD ({exc})", False
    else:
        word, holds = "holds", True
    print(f"{name}: {word}, {time.monotonic() - began:.0f} s\n  {measured}", flush=True)
    return holds


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
