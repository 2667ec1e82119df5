"""Rows of batches: running and ended."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scene import NOW, batch, overview, report

from batchline.api.appends import Appends
from batchline.model import Counts, Fault
from batchline.states import BatchStatus
from dashboard import batch_rows, page
from dashboard.history import History


def _figures(seen, **fleet):
    shown = page.show(overview(open_batches=(seen,), report=report(**fleet)), History(), now=NOW)
    row = shown.parts["running"].rows[0]
    return {key.removeprefix(f"b.{row.seq}."): text for key, text in row.figures.items()}


def test_a_row_counts_failed_lines_as_finished():
    """Done of total includes failed ones, and they are named."""
    seen = batch(1, counts=Counts(total=1000, completed=600, failed=34))

    figures = _figures(seen, in_flight={seen.id: 12})

    assert figures["done"] == "634"
    assert figures["of"] == "of 1,000 · 63.4 %"
    assert figures["failed"] == "34 failed"
    assert figures["fly"] == "12 in flight"
    assert figures["say"] == "63.4 % finished, 34 failed"


@pytest.mark.parametrize("total", [0, 1000])
def test_a_batch_that_takes_requests_says_so_and_promises_no_end(total):
    """More may come, however many have finished; it is neither queued nor done."""
    seen = batch(1, counts=Counts(total, total), appends=Appends(5), model=None)

    shown = page.show(overview(open_batches=(seen,), report=report()), History(), now=NOW)

    (row,) = shown.parts["running"].rows
    assert (row.pill, row.end) == (batch_rows.OPEN, "none")
    assert row.figures["b.1.in"] == "takes requests"
    assert shown.parts["sentence"].figures["s.head"] == "1 batch open"


def test_a_paused_batch_is_paused_first():
    """Also one that takes requests."""
    seen = batch(1, counts=Counts(5, 5), appends=Appends(5), paused_at=NOW - 60)

    shown = page.show(overview(open_batches=(seen,), report=report()), History(), now=NOW)

    assert shown.parts["running"].rows[0].pill is batch_rows.PAUSED


def test_lines_in_flight_of_a_silent_dispatcher_are_not_shown():
    """Nobody knows them any more."""
    seen = batch(1, counts=Counts(1000, 5))

    assert _figures(seen, in_flight={seen.id: 12}, at=NOW - 60)["fly"] == ""


def test_eight_rows_are_shown_oldest_first_and_the_rest_counted():
    """Rows never change places; there is an end to the list."""
    many = tuple(batch(i, f"job-{i}", counts=Counts(10, 1)) for i in range(12))

    panel = page.show(overview(open_batches=many), History(), now=NOW).parts["running"]

    assert [r.name for r in panel.rows] == [f"job-{i}" for i in range(8)]
    assert panel.more == 4


@pytest.mark.parametrize("status", list(BatchStatus))
def test_every_status_has_its_own_pill(status):
    """All eight statuses of the API have a word and an icon."""
    assert batch_rows.PILLS[status].word
    assert batch_rows.PILLS[status].icon


def test_shapes_differ_between_statuses_of_one_colour():
    """Colour is never the only difference."""
    pills = [
        *batch_rows.PILLS.values(),
        batch_rows.QUEUED,
        batch_rows.NO_MODEL,
        *batch_rows.HALTED.values(),
    ]
    by_icon = {}
    for pill in pills:
        by_icon.setdefault((pill.icon, pill.tone), set()).add(pill.word)
    clash = {k: v for k, v in by_icon.items() if len(v) > 1}
    assert not clash


def test_an_ended_batch_links_to_its_files():
    """Results and errors are plain links to the API."""
    seen = batch(
        1,
        status=BatchStatus.COMPLETED,
        counts=Counts(120_000, 119_969, 31),
        created_at=NOW - 2880,
        completed_at=NOW,
        output_file_id="file-out",
        error_file_id="file-err",
    )

    ended = batch_rows.ended(seen)

    assert (ended.output_url, ended.error_url) == (
        "/v1/files/file-out/content",
        "/v1/files/file-err/content",
    )
    assert (ended.requests, ended.failed, ended.took) == ("120,000", "31", "48 m")
    assert ended.ended_at == "2026-02-12T01:30:07Z"


def test_a_cancelled_batch_says_how_far_it_came():
    """Not all were finished: both numbers are shown."""
    seen = batch(1, status=BatchStatus.CANCELLED, counts=Counts(40_000, 8_120), cancelled_at=NOW)

    assert batch_rows.ended(seen).requests == "8,120 of 40,000"


def test_a_refused_file_lists_five_faults_by_line():
    """The first five, and how many there are."""
    faults = [Fault("invalid_json", f"Not JSON ({i}).", line=i * 1000) for i in range(1, 8)]
    faults[0] = Fault("empty_file", "The file has no lines.")
    seen = batch(1, status=BatchStatus.FAILED, counts=Counts(), faults=faults, failed_at=NOW)

    ended = batch_rows.ended(seen)

    assert ended.faults[0] == ("file", "The file has no lines.")
    assert ended.faults[1] == ("line 2,000", "Not JSON (2).")
    assert (len(ended.faults), ended.faults_total) == (5, 7)
    assert (ended.requests, ended.failed) == ("–", "–")


@pytest.mark.parametrize(
    ("fleet", "text"),
    [
        (None, "start as soon as a dispatcher runs"),
        (report(backends=()), "Point any OpenAI client here, or:"),
        (report(), "Both backends are idle and ready for Qwen3-32B."),
    ],
    ids=["no report", "no backends", "ready"],
)
def test_the_empty_state_says_what_is_ready(fleet, text):
    """An empty page tells how to begin."""
    panel = page.show(overview(report=fleet), History(), now=NOW).parts["running"]
    assert text in panel.idle_text


def test_a_paused_batch_says_so_and_since_when_without_an_end():
    """Its pill and for how long; no end, no rate, however fast it was; others keep theirs."""
    moving, paused = (
        batch(1, counts=Counts(10_000, 5_000)),
        batch(2, counts=Counts(10_000, 5_000), paused_at=NOW - 125),
    )
    history = History()
    for age_s in range(600, -1, -10):
        done = Counts(10_000, 5_000 - age_s)
        looked = overview(open_batches=[replace(b, counts=done) for b in (moving, paused)])
        history.add(looked, at=NOW - age_s)
    seen = overview(open_batches=(moving, paused), report=report(in_flight={moving.id: 4}))

    shown = page.show(seen, history, now=NOW)
    one, other = shown.parts["running"].rows

    assert (one.pill, other.pill) == (None, batch_rows.PAUSED)
    assert (other.end, shown.figures["b.2.in"], shown.figures["b.2.rate"]) == (
        "none",
        "for 2 minutes",
        "",
    )
    assert list(shown.ends) == [moving.id]
    assert shown.figures["s.tail"] == "; 1 paused"


@pytest.mark.parametrize(
    ("paused", "queued", "head"),
    [
        (1, 0, "1 batch paused"),
        (2, 0, "2 batches paused"),
        (1, 2, "2 batches wait to start, 1 paused"),
    ],
)
def test_paused_batches_do_not_wait_to_start(paused, queued, head):
    """The sentence tells those that somebody paused from those that wait."""
    every = [batch(i, paused_at=NOW - 60) for i in range(paused)]
    every += [batch(10 + i) for i in range(queued)]

    shown = page.show(overview(open_batches=every), History(), now=NOW)

    assert shown.figures["s.head"] == head


def test_a_batch_that_waits_for_room_does_not_claim_to_write():
    """Finalizing is its status; that it cannot go on is what people must see."""
    waiting = batch(1, status=BatchStatus.FINALIZING, counts=Counts(10, 10))
    seen = overview(open_batches=[waiting], report=report(waiting={waiting.id: "No room."}))

    shown = page.show(seen, History(), now=NOW)

    assert shown.parts["running"].rows[0].pill == batch_rows.HELD_UP
    assert shown.figures["b.1.in"] == "for the disk"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("dispatcher_died", "the dispatcher died on it again and again: resume or cancel it"),
        ("most_requests_failed", "most lines fail: resume or cancel it"),
        ("of_a_later_version", "set aside: resume or cancel it"),
    ],
)
def test_a_batch_that_was_set_aside_says_why_and_what_to_do(code, text):
    """It was paused by the dispatcher, not by somebody."""
    why = [Fault(code, "The reason in full.")]

    figures = _figures(batch(1, counts=Counts(10, 5), paused_at=NOW - 125, faults=why))

    assert figures["in"] == text
