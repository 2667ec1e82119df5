"""What the screens tell of speed and end, from looks at the API's batch objects."""

from __future__ import annotations

import re

import pytest
from scripted_api import batch_object, running

from batchline.cli.api.batch import read_batch
from batchline.cli.api.pace import Pace
from batchline.cli.batches.watch_screens import eta

NOW = 1_800_000_000


def watched(*looks, every_s=10, **fields):
    """A pace that was shown a batch with so many lines finished, again and again."""
    pace = Pace()
    for i, fields_then in enumerate(looks):
        batch = read_batch(batch_object(in_progress_at=NOW - 3600, **fields_then, **fields))
        pace.observe(batch, at_s=i * every_s, now=NOW + i * every_s)
    return pace


def test_nothing_is_told_at_first():
    """One look says nothing about speed, so nothing about the end."""
    pace = watched(running(500, 1000))

    assert (pace.lines_per_s, pace.tokens_per_s, pace.end) == (None, None, None)


def test_the_end_follows_from_the_rate():
    """500 lines left at five a second; tokens have a rate of their own."""
    pace = watched(running(450, 1000), running(500, 1000))

    assert (pace.lines_per_s, pace.tokens_per_s) == (5, 50)
    assert pace.end == NOW + 10 + 100


@pytest.mark.parametrize(
    ("looks", "told"),
    [
        ([running(400, 2000), running(500, 2000)], "done in a few minutes"),
        ([running(300, 600), running(590, 600)], "done in under a minute"),
        ([running(400, 5000), running(500, 5000)], r"done about \d\d:\d\d \(in [78] m\)"),
        ([running(500, 1000), running(500, 1000)], ""),
        ([running(40, 1000), running(41, 1000)], ""),
        ([running(400, 1000), running(500, 1000, status="finalizing")], ""),
        ([running(400, 1000), running(500, 1000, paused_at=NOW)], ""),
        ([running(400, 1000, open=True), running(500, 1000, open=True)], ""),
    ],
    ids=["soon", "at once", "later", "stands still", "too early", "finalizing", "paused", "open"],
)
def test_an_end_is_told_only_while_the_batch_moves(looks, told):
    """A few minutes, a time of day, or nothing."""
    assert re.fullmatch(told, eta(watched(*looks), now=NOW + 10))
