"""Seeded histories over the real processes: every invariant holds whatever dies. `make chaos` plays more."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from chaos.report import Total, text
from chaos.run import AT_ONCE, run

SEEDS = tuple(range(12))
"""Each failpoint by itself is cut at in tests/system/test_cut_between_steps.py; here faults come together."""
_ONCE_FAILED = Path(__file__).with_name("seeds.txt")

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(1200)]


def once_failed():
    """Return the regression seeds."""
    lines = _ONCE_FAILED.read_text().splitlines()
    return tuple(int(line.split()[0]) for line in lines if line and not line.startswith("#"))


def test_every_invariant_holds_in_every_history(tmp_path, capsys):
    """A failing seed is named with what did not hold, and its data is kept."""
    seeds = dict.fromkeys((*once_failed(), *SEEDS))
    total = Total()

    began_at = time.monotonic()

    run(seeds, jobs=AT_ONCE, keep=tmp_path, on_verdict=total.verdicts.append)

    report = text(total, wall_s=time.monotonic() - began_at)
    with capsys.disabled():
        print(report)
    assert not total.failing, report
    assert len(total.verdicts) == len(seeds)
