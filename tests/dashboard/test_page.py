"""The one sentence, the notices and the statuses, for every state of the service."""

from __future__ import annotations

import pytest
from scene import NOW, backend, batch, night, overview, report

from batchline.model import Counts, Usage
from batchline.states import BatchStatus
from dashboard import page
from dashboard.batch_rows import QUEUED
from dashboard.history import History


def _running(seq=1, finished=500, total=1000, **changes):
    return batch(seq, f"job-{seq}", counts=Counts(total, finished), **changes)


def _flying(*batches, **changes):
    return report(in_flight={b.id: 10 for b in batches}, **changes)


def _show(seen, *, history=None, now=NOW, **given):
    return page.show(seen, history or History(), now=now, **given)


def _head(shown):
    f = shown.figures
    at = f["s.at"][11:16] if f["s.at"] else ""
    return f["s.head"] + at + f["s.tail"]


def _history(per_s, *, seconds=60, total=1000, seq=1, finished=500):
    history = History()
    for t in range(-seconds, 1, 10):
        done = round(finished + t * per_s)
        seen = _running(seq, done, total)
        history.add(overview(open_batches=(seen,), report=_flying(seen, at=NOW + t)), at=NOW + t)
    return history


def test_nothing_at_all_is_ready():
    """A fresh service says that it is ready."""
    assert _head(_show(overview())) == "Ready. Nothing has been run yet."


def test_an_idle_service_says_when_it_last_worked():
    """The morning question is answered first."""
    done = batch(1, status=BatchStatus.COMPLETED, completed_at=NOW - 2760)

    assert _head(_show(overview(finished=(done,)))) == "Idle. Last batch finished 00:44."


def test_an_idle_service_has_no_speed():
    """The last minute's mean is not shown as the present when nothing is open."""
    shown = _show(overview(), history=_history(5))

    assert (shown.figures["v.tok"], shown.figures["v.req"]) == ("0", "0")


def test_a_moving_batch_has_an_end():
    """500 lines left at 0.5 per second: done in 16 m 40 s, rounded up to the minute."""
    seen = _running()

    shown = _show(overview(open_batches=(seen,), report=_flying(seen)), history=_history(0.5))

    assert _head(shown) == "1 batch running, done about 01:47"
    assert shown.figures["s.sub"] == "500 requests left · 17 m at the present rate"
    assert shown.figures["title"] == "50% job-1 – batchline"


@pytest.mark.parametrize(
    ("per_s", "words"), [(5, "in a few minutes"), (20, "in under a minute")], ids=str
)
def test_a_near_end_has_no_clock_time(per_s, words):
    """An end within five minutes is worded, not timed."""
    seen = _running(finished=500, total=1000 if per_s == 5 else 700)
    history = _history(per_s, total=1000, seconds=20)

    shown = _show(overview(open_batches=(seen,), report=_flying(seen)), history=history)

    assert _head(shown) == f"1 batch running, done {words}"


def test_no_end_is_made_up():
    """Without a measured rate the end is being estimated."""
    seen = _running()

    shown = _show(overview(open_batches=(seen,), report=_flying(seen)))

    assert _head(shown) == "1 batch running, estimating the end"
    assert shown.parts["running"].rows[0].end == "open"


def test_waiting_batches_are_not_part_of_the_promise():
    """Only running batches are done at the time; the others are named as waiting."""
    seen, queued = _running(), _running(2, finished=0)

    shown = _show(
        overview(open_batches=(seen, queued), report=_flying(seen)), history=_history(0.5)
    )

    assert _head(shown) == "1 batch running, done about 01:47; 1 more waits"
    assert [r.pill for r in shown.parts["running"].rows] == [None, QUEUED]


def test_batches_that_close_are_not_waiting():
    """Finalizing and cancelling have their own words."""
    seen = _running()
    others = (
        _running(2, finished=0),
        _running(3, status=BatchStatus.FINALIZING),
        _running(4, status=BatchStatus.CANCELLING),
    )

    shown = _show(overview(open_batches=(seen, *others), report=_flying(seen)))

    assert _head(shown).endswith("; 1 more waits, 1 finalizing, 1 cancelling")


def test_the_night_of_the_mock_reads_as_in_the_mock():
    """Three batches, one sentence, a range."""
    history = History()
    for age_s in range(3600, -1, -10):
        history.add(night(age_s), at=NOW - age_s)

    shown = _show(night(), history=history)

    assert _head(shown).startswith("3 batches running, all done about 04:")
    assert shown.figures["s.sub"].startswith("437,372 requests left · 2 h ")
    assert shown.parts["sentence"].has_range
    assert shown.figures["s.from"] < shown.figures["s.at"] < shown.figures["s.to"]


TROUBLE = {
    "no dispatcher": (None, "1 batch waits for a dispatcher", "No dispatcher has reported yet."),
    "silent": (
        report(at=NOW - 40),
        "1 batch waits: the dispatcher is silent",
        "The dispatcher has not reported for 40 seconds.",
    ),
    "paused": (
        report(paused="the upstream answers 429"),
        "Paused; 1 batch waits",
        "Dispatch is paused: the upstream answers 429.",
    ),
    "no room": (
        report(paused="Only 400 kB of disk space are left and 1.0 GB are kept free: make room."),
        "Paused; 1 batch waits",
        "Dispatch is paused: Only 400 kB of disk space are left and 1.0 GB are kept free: make room.",
    ),
    "none alive": (
        report(backends=(backend(0, alive=False, since=NOW - 130),)),
        "1 batch waits: no backend answers",
        "gpu-0 has not answered for 2 minutes.",
    ),
    "no model": (
        report(backends=(backend(0, models=("meta/Llama",)),)),
        "1 batch waits: no backend serves Qwen3-32B",
        "No backend serves Qwen3-32B.",
    ),
}


@pytest.mark.parametrize(("fleet", "head", "notice"), TROUBLE.values(), ids=TROUBLE)
def test_what_stops_all_work_is_the_sentence(fleet, head, notice):
    """The sentence names the trouble, a notice says since when and what it means."""
    shown = _show(overview(open_batches=(_running(),), report=fleet))

    assert _head(shown) == head
    assert shown.figures["n.0.head"] == notice
    assert shown.figures["title"].startswith("! ")
    assert shown.figures["icon"] == "/favicon.svg?attention"


def test_a_report_of_ten_seconds_is_not_yet_silence():
    """A late report alone alarms nobody."""
    shown = _show(overview(report=report(at=NOW - 10)))

    assert not shown.parts["notices"].shown
    assert shown.figures["icon"] == "/favicon.svg"


def test_backends_that_are_not_named_are_not_missed():
    """Without backend addresses nothing is known of them, and nothing is claimed."""
    seen = _running()
    shown = _show(overview(open_batches=(seen,), report=_flying(seen, backends=())))

    assert not shown.parts["notices"].shown
    assert _head(shown) == "1 batch running, estimating the end"


def test_a_batch_that_finishes_nothing_is_stalled():
    """Ten minutes without one line, with lines in flight, is said aloud."""
    seen = _running()
    fleet = _flying(seen)
    history = _history(0.5)
    for t in range(10, 601, 10):
        history.add(overview(open_batches=(seen,), report=fleet), at=NOW + t)

    now = NOW + 600
    shown = _show(
        overview(open_batches=(seen,), report=_flying(seen, at=now)), history=history, now=now
    )

    assert _head(shown) == "job-1 has finished nothing for 10 minutes"
    assert shown.parts["running"].rows[0].pill.word == "Stalled 10 m"


def test_long_answers_are_not_a_stall():
    """With 400 in flight at 0.5 per second a line takes 13 minutes: six of silence are usual."""
    seen = _running()
    busy = report(in_flight={seen.id: 400})
    history = _history(0.5, seconds=600)
    for t in range(10, 361, 10):
        history.add(overview(open_batches=(seen,), report=busy), at=NOW + t)

    now = NOW + 360
    busy = report(in_flight={seen.id: 400}, at=now)
    shown = _show(overview(open_batches=(seen,), report=busy), history=history, now=now)

    assert shown.parts["running"].rows[0].pill is None


def test_three_notices_are_shown_worst_first():
    """The rest is counted."""
    shown = _show(
        overview(
            open_batches=(
                _running(1, model="a/one"),
                _running(2, model="b/two"),
            ),
            report=report(backends=(backend(0), backend(1, alive=False, since=NOW - 240))),
        ),
        free_bytes=1_000_000_000,
    )

    heads = [shown.figures[f"n.{i}.head"] for i in range(3)]
    assert heads[0] == "gpu-1 has not answered for 4 minutes."
    assert heads[1].startswith("The disk is nearly full: 1.0 GB")
    assert shown.parts["notices"].more == 1


def test_a_database_that_does_not_answer_is_named_with_its_age():
    """The last figures stay, and the page says that they are old."""
    shown = _show(overview(), store_fault=("The disk is full.", NOW - 61))

    assert shown.figures["n.0.head"] == "The database has not answered for 1 minute."
    assert "The disk is full." in shown.figures["n.0.text"]


def test_figures_change_without_changing_the_structure():
    """A finished line patches texts; it replaces no HTML."""
    before, after = _running(finished=500), _running(finished=501)
    shapes = [
        _show(overview(open_batches=(b,), report=_flying(b))).shapes() for b in (before, after)
    ]

    assert shapes[0] == shapes[1]


def test_a_new_batch_changes_only_the_parts_it_touches():
    """The structure of the other parts stays."""
    one, two = _running(1), _running(2)
    first = _show(overview(open_batches=(one,), report=_flying(one, two))).shapes()
    second = _show(overview(open_batches=(one, two), report=_flying(one, two))).shapes()

    assert {name for name in first if first[name] != second[name]} == {"running"}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (BatchStatus.VALIDATING, "1 batch validating"),
        (BatchStatus.FINALIZING, "1 batch finalizing"),
        (BatchStatus.CANCELLING, "1 batch cancelling"),
        (BatchStatus.IN_PROGRESS, "1 batch waits to start"),
    ],
)
def test_batches_that_do_not_run_are_worded(status, words):
    """Finalizing is not running, and waiting is not estimating."""
    seen = _running(finished=0, status=status)

    assert _head(_show(overview(open_batches=(seen,)))) == words


def test_the_present_span_of_the_curves_grows():
    """Five minutes, a quarter, an hour: a young service has no empty hour."""
    assert page.span(_history(1, seconds=100)) == 300
    assert page.span(_history(1, seconds=400)) == 900
    assert page.span(_history(1, seconds=1000)) == 3600


def test_the_chart_falls_back_to_requests():
    """Where no tokens are known the large curve shows requests."""
    mute = report(backends=(backend(0, output_tokens_per_s=None),))
    assert _show(overview(report=mute)).parts["chart"].title == "Requests finished per second"
    history = History()
    history.add(overview(), at=NOW)
    assert _show(overview(), history=history).parts["chart"].title == "Output tokens per second"


@pytest.mark.parametrize(
    ("flying", "left", "sense"),
    [
        (0, 500, "nothing sent at present"),
        (470, 500, "the backends are kept full"),
        (100, 500, "room for more"),
        (100, 90, "the last ones are running"),
    ],
)
def test_in_flight_has_a_word(flying, left, sense):
    """A number of slots alone says nothing to most readers."""
    seen = _running(finished=1000 - left)
    fleet = report(in_flight={seen.id: flying} if flying else {})

    assert _show(overview(open_batches=(seen,), report=fleet)).figures["v.fly.sub"] == sense


def test_the_shown_end_does_not_jitter():
    """A new estimate within 2 % leaves the shown one."""
    seen = _running(total=10_000)
    now_seen = overview(open_batches=(seen,), report=_flying(seen))
    first = _show(now_seen, history=_history(1.0, total=10_000))
    second = _show(now_seen, history=_history(1.01, total=10_000), held=first.ends)

    assert second.ends == first.ends


def test_usage_is_optional():
    """A batch without tokens is shown like any other."""
    seen = _running(usage=Usage())
    assert "s.head" in _show(overview(open_batches=(seen,), report=_flying(seen))).figures
