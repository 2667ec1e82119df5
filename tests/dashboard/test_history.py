"""Rates and series from totals at moments."""

from __future__ import annotations

import pytest
from scene import NOW, backend, batch, overview, report

from batchline.model import Counts, Usage
from batchline.states import BatchStatus
from dashboard.history import History

ID = batch(1).id


def _seen(finished, *, failed=0, tokens=0, at=NOW, **fleet):
    counts = Counts(total=10_000, completed=finished - failed, failed=failed)
    running = batch(1, counts=counts, usage=Usage(output_tokens=tokens))
    return overview(open_batches=(running,), report=report(at=int(at), **fleet))


def _watch(seconds, per_s, *, step=10):
    history = History()
    for t in range(0, seconds + 1, step):
        history.add(_seen(1000 + round(t * per_s), at=NOW + t), at=NOW + t)
    return history


def test_the_rate_is_taken_over_the_last_minute():
    """An hour at 2 per second, then a minute at 10: the rate is 10."""
    history = _watch(3600, 2)
    for t in range(10, 61, 10):
        history.add(_seen(8200 + 10 * t, at=NOW + 3600 + t), at=NOW + 3600 + t)

    assert history.track(ID).rate() == pytest.approx(10)
    assert history.track(ID).rate(window_s=600) == pytest.approx(
        (540 * 2 + 60 * 10) / 600, rel=0.02
    )


def test_one_look_tells_no_rate():
    """Nothing is known after the first look, so nothing is said."""
    history = History()
    history.add(_seen(5), at=NOW)

    assert history.track(ID).rate() is None
    assert history.total_rate() is None


def test_looks_each_second_cost_no_memory():
    """Points closer than ten seconds replace each other; the newest is always there."""
    history = _watch(100, 3, step=1)

    assert len(history._points) <= 13
    assert history.track(ID).rate() == pytest.approx(3, rel=0.05)


def test_waiting_its_turn_is_not_being_slow():
    """The time before the first line finished does not count."""
    history = History()
    for t in (0, 10, 20, 30):
        history.add(_seen(0, at=NOW + t), at=NOW + t)
    history.add(_seen(100, at=NOW + 40), at=NOW + 40)

    assert history.track(ID).rate() == pytest.approx(10)


def test_a_batch_that_started_since_the_last_look_counts_from_its_start():
    """A short batch has a rate at its first look."""
    history = History()
    history.add(overview(), at=NOW)
    young = batch(1, counts=Counts(1000, 50), created_at=NOW + 4, in_progress_at=NOW + 5)
    history.add(overview(open_batches=(young,)), at=NOW + 10)

    assert history.track(young.id).rate() == pytest.approx(10)


def test_lines_of_a_batch_that_ended_between_two_looks_count():
    """The service's rate does not lose the last lines of a batch."""
    history = History()
    history.add(_seen(90), at=NOW)
    ended = batch(1, status=BatchStatus.COMPLETED, counts=Counts(100, 100), completed_at=NOW + 5)
    history.add(overview(finished=(ended,)), at=NOW + 10)

    assert history.last_hour()[0] == 10
    assert history.total_rate() == pytest.approx(1.0)


def test_old_batches_seen_first_do_not_count():
    """What finished before the dashboard started is not speed."""
    ended = batch(1, status=BatchStatus.COMPLETED, counts=Counts(100, 100), completed_at=NOW - 60)
    history = History()
    history.add(overview(), at=NOW)
    history.add(overview(finished=(ended,)), at=NOW + 10)

    assert history.last_hour() == (0, 0, 0)


def test_a_gap_in_watching_is_a_gap_in_the_curve():
    """While the poller was down nothing is known."""
    history = _watch(60, 2)
    for t in (300, 310, 320):
        history.add(_seen(2000 + t, at=NOW + t), at=NOW + t)

    series = history.batch_series(ID, span_s=300, buckets=30)
    assert series[-1] == pytest.approx(1.0)
    assert None in series[5:25]


def test_the_hour_is_bounded():
    """Only the last hour is kept."""
    history = _watch(9000, 1, step=10)

    assert history.seen_s == pytest.approx(3610, abs=20)
    assert history.last_hour()[0] == pytest.approx(3610, abs=20)


def test_tokens_come_from_the_backends_or_else_from_finished_lines():
    """Engines know their speed; without them the finished lines tell."""
    spoken, silent = History(), History()
    mute = (backend(0, output_tokens_per_s=None),)
    for t in (0, 10, 20):
        spoken.add(_seen(1, tokens=t, at=NOW + t), at=NOW + t)
        silent.add(_seen(1, tokens=30 * t, at=NOW + t, backends=mute), at=NOW + t)

    assert spoken.token_rate() == pytest.approx(2 * 2660)
    assert silent.token_rate() == pytest.approx(30)


def test_a_silent_dispatcher_has_no_gauges():
    """Old figures are not drawn as new ones."""
    history = History()
    for t in (0, 10, 20, 30):
        history.add(_seen(1, at=NOW), at=NOW + t)

    assert history.series("in_flight", span_s=300, buckets=30)[-1] is None


def test_the_failed_share_is_a_ratio_of_finished():
    """One failed in four is 0.25."""
    history = History()
    for t in range(0, 61, 10):
        history.add(_seen(4 * t, failed=t, at=NOW + t), at=NOW + t)

    assert history.series("failed_share", span_s=60, buckets=6)[-1] == pytest.approx(0.25)


def test_the_spread_needs_five_minutes():
    """A range from less would be made up."""
    assert _watch(200, 5).spread() is None
    slow, fast = _watch(900, 5).spread()
    assert slow == pytest.approx(1)
    assert fast == pytest.approx(1)


def test_standing_still_is_timed_from_the_last_line():
    """The time since a line last finished while this watched."""
    history = _watch(60, 1)
    for t in (70, 80, 90):
        history.add(_seen(1060, at=NOW + t), at=NOW + t)

    assert history.track(ID).still_for_s(now=NOW + 90) == 30


def test_a_clock_that_runs_backwards_changes_nothing():
    """An earlier look is dropped."""
    history = _watch(60, 1)
    history.add(_seen(5000), at=NOW)

    assert history.last_hour()[0] == 60
