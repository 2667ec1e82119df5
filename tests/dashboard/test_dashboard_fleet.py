"""The backends panel and the notices about it."""

from __future__ import annotations

import pytest
from scene import NOW, backend, overview, report

from dashboard import fleet


def _notices(*backends):
    return fleet.notices(
        overview(report=report(backends=backends)),
        now=NOW,
        free_bytes=None,
        store_fault=None,
        stalled=(),
        unserved=(),
    )


def test_a_backend_shows_its_load():
    """Running, waiting, cache and speed."""
    out = {}
    fleet.backends(report(backends=(backend(0),)), now=NOW, out=out)

    assert (out["srv.0.run"], out["srv.0.wait"], out["srv.0.kv"], out["srv.0.tok"]) == (
        "256",
        "12",
        "91 %",
        "2,660",
    )
    assert out["srv.head"] == "1 of 1 answering"


def test_a_backend_without_metrics_shows_dashes():
    """Unknown is a dash, never a zero."""
    bare = backend(0, running=None, waiting=None, kv_cache_ratio=None, output_tokens_per_s=None)
    out = {}
    panel = fleet.backends(report(backends=(bare,)), now=NOW, out=out)

    assert (out["srv.0.run"], out["srv.0.tok"]) == ("–", "–")
    assert not panel.rows[0].has_cache
    assert not panel.rows[0].has_queue


def test_a_dead_backend_says_since_when_and_why():
    """Not answering for 4 minutes, and the reason."""
    dead = backend(0, alive=False, since=NOW - 240, reason="connection refused")
    out = {}
    panel = fleet.backends(report(backends=(dead, backend(1))), now=NOW, out=out)

    assert out["srv.0.down"] == "4 minutes"
    assert panel.rows[0].reason == "connection refused"
    assert out["srv.head"] == "1 of 2 answering"


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
    ("n", "noun", "text"),
    [(1, "batch", "1 batch"), (3, "batch", "3 batches"), (1286, "request", "1,286 requests")],
)
def test_numbers_agree_with_their_nouns(n, noun, text):
    """One batch, three batches."""
    assert fleet.plural(n, noun) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1 second"), (59, "59 seconds"), (240, "4 minutes"), (10_200, "2 h 50 m")],
)
def test_sentences_spell_durations_out(seconds, text):
    """In a sentence a duration has words."""
    assert fleet.spell(seconds) == text
