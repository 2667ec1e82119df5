"""The backends panel and the notices about it."""

from __future__ import annotations

import pytest
from scene import NOW, backend, batch, overview, report

from batchline import figures
from batchline.model import SILENT_AFTER_S, Counts, Fault
from dashboard import backends_panel, notices
from dashboard.halt import Halt, halt
from gateway.routes.ops import fleet_reasons


def _notices(*backends):
    return _found(overview(report=report(backends=backends)))


def _found(seen, *, free_bytes=None, min_free_bytes=0):
    return notices.notices(
        seen,
        now=NOW,
        free_bytes=free_bytes,
        min_free_bytes=min_free_bytes,
        store_fault=None,
        stalled=(),
        unserved=(),
    )


def test_a_backend_shows_its_load():
    """Running, waiting, cache and speed."""
    panel = backends_panel.backends(report(backends=(backend(0),)), now=NOW)

    assert (
        panel.figures["srv.0.run"],
        panel.figures["srv.0.wait"],
        panel.figures["srv.0.kv"],
        panel.figures["srv.0.tok"],
    ) == (
        "256",
        "12",
        "91 %",
        "2,660",
    )
    assert panel.figures["srv.head"] == "1 of 1 answering"


def test_a_backend_without_metrics_shows_dashes():
    """Unknown is a dash, never a zero."""
    bare = backend(0, running=None, waiting=None, kv_cache_ratio=None, output_tokens_per_s=None)
    panel = backends_panel.backends(report(backends=(bare,)), now=NOW)

    assert (panel.figures["srv.0.run"], panel.figures["srv.0.tok"]) == ("–", "–")
    assert not panel.rows[0].has_cache
    assert not panel.rows[0].has_queue


def test_a_dead_backend_says_since_when_and_why():
    """Not answering for 4 minutes, and the reason."""
    dead = backend(0, alive=False, since=NOW - 240, reason="connection refused")
    panel = backends_panel.backends(report(backends=(dead, backend(1))), now=NOW)

    assert panel.figures["srv.0.down"] == "4 minutes"
    assert panel.rows[0].reason == "connection refused"
    assert panel.figures["srv.head"] == "1 of 2 answering"


@pytest.mark.parametrize(
    ("alive", "head"),
    [
        ([True, True], None),
        ([False, True, True], "gpu-0 has not answered for 4 minutes."),
        ([False, False, True], "2 of 3 backends have not answered, the first for 4 minutes."),
        ([False, False], "None of the 2 backends answers, for 4 minutes."),
        ([False], "gpu-0 has not answered for 4 minutes."),
    ],
    ids=str,
)
def test_dead_backends_make_one_notice(alive, head):
    """However many are down, one notice says so and what it means."""
    found = _notices(*[backend(i, alive=a, since=NOW - 240) for i, a in enumerate(alive)])

    assert [n.head for n in found] == ([head] if head else [])
    assert all("nothing is lost" in n.text for n in found)


@pytest.mark.parametrize(
    ("circuit", "standing"), [("closed", "ready"), ("half_open", "tried"), ("open", "out")]
)
def test_a_backend_says_whether_it_gets_lines(circuit, standing):
    """Alive is not enough: it may be tried with a few lines, or be taken out."""
    seen = backend(0, circuit=circuit, circuit_since=NOW - 60, circuit_reason="hangs", in_flight=3)
    panel = backends_panel.backends(report(backends=(seen,)), now=NOW)
    (row,) = panel.rows

    assert (row.standing, row.reason, row.has_lines) == (standing, "hangs", True)
    assert (panel.figures["srv.0.out"], panel.figures["srv.0.fly"]) == ("1 minute", "3 lines")


LACKS = "has no /v1/rerank (404): start a server that offers it"
PAGE = "its /metrics cannot be read: 'vllm:num_requests_running{': no value"


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        ({"circuit_reason": LACKS}, LACKS),
        ({"reason": PAGE}, PAGE),
        ({"circuit_reason": LACKS, "reason": PAGE}, LACKS),
        ({"alive": False, "circuit_reason": LACKS, "reason": "answers 500"}, "answers 500"),
        ({}, ""),
    ],
    ids=["lacks", "a broken page", "both", "dead", "well"],
)
def test_a_backend_says_what_is_the_matter(seen, reason):
    """Also where it gets lines; what keeps lines from it comes first."""
    (row,) = backends_panel.backends(report(backends=(backend(0, **seen),)), now=NOW).rows

    assert (row.standing, row.reason) == ("ready", reason)


def test_a_backend_that_lacks_something_is_a_notice():
    """With what and what to do; a page that cannot be read keeps no line from it and is none."""
    found = _notices(backend(0, circuit_reason=LACKS), backend(1, reason=PAGE), backend(2))

    assert [(n.tone, n.head) for n in found] == [("warn", "gpu-0 gets no requests of some kinds.")]
    assert found[0].text.startswith(f"It {LACKS}. ")


def test_a_backend_that_answers_and_is_taken_out_is_a_notice():
    """Not one that is tried again within seconds."""
    out = {"circuit": "open", "circuit_reason": "hangs: answers nothing"}
    long, short = backend(0, **out, circuit_since=NOW - 400), backend(1, **out, circuit_since=NOW)

    found = _notices(long, short, backend(2))

    assert [n.head for n in found] == ["gpu-0 has got no requests for 6 minutes."]
    assert found[0].text.startswith("It hangs: answers nothing.")


def test_a_backend_with_other_models_than_most_is_a_notice():
    """A dead one says nothing of its models."""
    odd = backend(1, models=("org/Other-7B",))
    dead = backend(3, alive=False, models=("org/Third-7B",))

    found = _notices(backend(0), odd, backend(2), dead)

    assert "gpu-1 serves other models than most: Other-7B." in [n.head for n in found]
    assert "Third" not in str(found)


def test_a_batch_without_a_server_for_its_model_is_told_once():
    """By the model, which says what to start; other batches that wait are named one by one."""
    seen = overview(
        open_batches=[batch(1, "a", model="x"), batch(2, "b")],
        report=report(waiting={batch(1).id: "No backend serves x.", batch(2).id: "No room."}),
    )

    found = notices.notices(
        seen,
        now=NOW,
        free_bytes=None,
        min_free_bytes=0,
        store_fault=None,
        stalled=(),
        unserved=("x",),
    )

    assert [n.head for n in found] == ["b waits.", "No backend serves x."]


@pytest.mark.parametrize(
    ("failed", "reported", "told"),
    [
        (
            51,
            {batch(1).id: "400: prompt # is too long"},
            [("a: most lines fail.", "400: prompt # is too long")],
        ),
        (51, {}, [("a: most lines fail.", "")]),
        (50, {batch(1).id: "400: prompt # is too long"}, []),
    ],
    ids=["most", "most, unknown why", "half"],
)
def test_a_batch_of_which_most_lines_fail_is_a_notice(failed, reported, told):
    """With the commonest failure, where the dispatcher knows it."""
    bad = batch(1, "a", counts=Counts(1000, 100 - failed, failed))
    seen = overview(open_batches=[bad], report=report(failing=reported))

    assert [(n.head, n.text) for n in _found(seen)] == told


def test_a_batch_that_paused_by_itself_is_a_notice_with_the_reason():
    """One that somebody paused is none, nor is one that was refused."""
    why = [Fault("most_requests_failed", "51 of the last 60 requests failed. Resume it to go on.")]
    by_itself, by_hand = batch(1, "a", paused_at=NOW, faults=why), batch(2, "b", paused_at=NOW)

    found = _found(overview(open_batches=[by_itself, by_hand]))

    assert [(n.tone, n.head, n.text) for n in found] == [
        ("warn", "a paused by itself.", why[0].message)
    ]


@pytest.mark.parametrize(
    ("count", "head"),
    [
        (1, "1 request is tried apart from the others."),
        (3, "3 requests are tried apart from the others."),
    ],
)
def test_suspects_are_told(count, head):
    """How many, why, and which backend gets nothing else meanwhile."""
    seen = overview(report=report(suspects=count, reserved_backend="gpu-0"))

    (notice,) = _found(seen)

    assert notice.head == head
    assert notice.text.startswith("Servers died while working on")
    assert "gpu-0 is reserved" in notice.text


@pytest.mark.parametrize("over_s", [0, 1])
def test_ready_and_the_page_agree_when_the_dispatcher_is_silent(over_s):
    """One limit and one predicate: neither may call what the other calls well."""
    old = report(at=NOW - SILENT_AFTER_S - over_s)

    assert (halt(overview(report=old), now=NOW) is Halt.SILENT) is bool(over_s)
    assert bool(fleet_reasons(old, now=NOW)) is bool(over_s)
    heads = [notice.head for notice in _found(overview(report=old))]
    assert any("dispatcher has not reported" in head for head in heads) is bool(over_s)


def test_a_disk_that_refuses_is_told_instead_of_a_silent_dispatcher():
    """It cannot report what it cannot write."""
    seen = overview(report=report(at=NOW - 20), refusal="The disk is read-only. Mount it.")

    found = _found(seen)

    assert halt(seen, now=NOW) is Halt.REFUSED
    assert [n.head for n in found] == ["Nothing can be stored."]
    assert found[0].text.startswith("The disk is read-only. Mount it. Nothing is lost")


def test_a_batch_that_waits_for_room_is_named():
    """With what it needs; the others run on."""
    seen = overview(
        open_batches=[batch(1, "big")], report=report(waiting={batch(1).id: "No room."})
    )

    found = _found(seen)

    assert halt(seen, now=NOW) is None
    assert [(n.head, n.text) for n in found] == [("big waits.", "No room.")]


GB = 1_000_000_000


@pytest.mark.parametrize(
    ("free", "kept", "head", "text"),
    [
        (0, GB, "The disk is full.", "Uploads are refused, and results wait"),
        (GB // 2, GB, "The disk is nearly full: 500 MB left.", "Uploads are refused and dispatch"),
        (9 * GB, 5 * GB, "The disk is nearly full: 9.0 GB left.", "Soon uploads are refused"),
        (11 * GB, 5 * GB, None, None),
        (1_000_000, 0, "The disk is nearly full: 1.0 MB left.", "Nothing is kept free"),
        (3 * GB, 0, None, None),
    ],
)
def test_a_disk_without_room_is_told(free, kept, head, text):
    """Before uploads are refused and dispatch pauses, and what happens at that mark; also without one."""
    found = _found(overview(), free_bytes=free, min_free_bytes=kept)

    assert [n.head for n in found] == ([head] if head else [])
    assert [n.text for n in found if not n.text.startswith(text or "")] == []


@pytest.mark.parametrize(
    ("n", "noun", "text"),
    [(1, "batch", "1 batch"), (3, "batch", "3 batches"), (1286, "request", "1,286 requests")],
)
def test_numbers_agree_with_their_nouns(n, noun, text):
    """One batch, three batches."""
    assert figures.plural(n, noun) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1 second"), (59, "59 seconds"), (240, "4 minutes"), (10_200, "2 h 50 m")],
)
def test_sentences_spell_durations_out(seconds, text):
    """In a sentence a duration has words."""
    assert figures.spell(seconds) == text
