"""The page, the command line's screens and its JSON tell one speed and one end of a batch."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from scene import NOW, batch, overview, report

from batchline import estimate, figures
from batchline.api.objects.batch import batch_object
from batchline.api.objects.encoding import encode
from batchline.cli.api.batch import read_batch
from batchline.cli.api.pace import Pace
from batchline.cli.batches.watch_screens import JsonScreen, plain_line
from batchline.cli.render import clock as time_of_day
from batchline.model import Counts
from dashboard import page
from dashboard.history import History


def watched(*, total, per_s, seconds, every_s):
    """Yield a batch at each look: half is finished at last, the last two minutes were twice as fast."""
    for age_s in range(seconds, -1, -every_s):
        counts = Counts(total, round(total / 2 - (age_s + min(age_s, 120)) * per_s))
        yield NOW - age_s, batch(1, "job", counts=counts)


def on_the_page(looks):
    """Return what the row says of speed, time of day and time left."""
    history = History()
    for at, seen in looks:
        flying = report(in_flight={seen.id: 4}, at=at)
        now_seen = overview(open_batches=(seen,), report=flying)
        history.add(now_seen, at=at)
    row = page.show(now_seen, history, now=NOW).parts["running"].rows[0].figures
    at = row["b.1.at"] and time_of_day(datetime.fromisoformat(row["b.1.at"]).timestamp(), now=NOW)
    return row["b.1.rate"], at, row["b.1.in"]


def on_the_screens(looks, capsys):
    """Return the line, and the JSON, of a watcher who reads the API."""
    pace = Pace()
    for at, seen in looks:
        read = read_batch(json.loads(encode(batch_object(seen))))
        pace.observe(read, at_s=at - NOW + 1e5, now=at)
    JsonScreen().show(read, pace, now_s=1e5)
    return plain_line(read, pace, now=NOW), json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    "given",
    [
        {"total": 9000, "per_s": 3, "seconds": 900, "every_s": 1},
        {"total": 90_000, "per_s": 4, "seconds": 1200, "every_s": 10},
        {"total": 1000, "per_s": 4, "seconds": 60, "every_s": 1},
        {"total": 1000, "per_s": 0, "seconds": 60, "every_s": 10},
    ],
    ids=["minutes", "hours", "soon", "still"],
)
def test_all_who_tell_of_a_batch_tell_the_same(given, capsys):
    """Who reads the page and who watches in a terminal or with a program need not compare."""
    rate, at, away = on_the_page(watched(**given))
    line, told = on_the_screens(watched(**given), capsys)

    assert f"{rate.removesuffix(' per second')} lines/s" in line
    assert f"{figures.rate(told['lines_per_second'])} per second" == rate
    if told["seconds_left"] is None:
        assert (away, "done" in line) == ("estimating the end", False)
    else:
        end = estimate.told(NOW + told["seconds_left"], now=NOW)
        assert line.endswith(f"done about {at} ({away})" if at else f"done {away}")
        assert ((end.at and time_of_day(end.at, now=NOW)) or "", f"in {end.away}") == (at, away)
