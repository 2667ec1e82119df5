"""Slices held: what of them is under way, and when what is left may be given back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dispatcher.attempts.leased_slices import Held, UnderWay


@pytest.fixture
def held():
    return Held(SimpleNamespace(), SimpleNamespace(), 2, 0.0)


def test_a_send_is_counted_until_it_ends(held):
    """Whoever is told of its end finds it counted no more."""
    ended = []
    with UnderWay(held, lambda: ended.append(held.under_way)):
        assert held.under_way == 1

    assert ended == [0]


def test_a_send_ends_once(held):
    """A task that was cancelled before it began is ended from outside, any other one is ended twice."""
    ended = []
    send, other = UnderWay(held, lambda: ended.append("send")), UnderWay(held, lambda: None)
    send.end()
    with send:
        pass

    assert (held.under_way, ended) == (1, ["send"])
    other.end()
    assert held.under_way == 0


def test_a_slice_is_quiet_when_all_that_was_sent_is_durable(held):
    """Given back before, its lines would be sent again."""
    with UnderWay(held, lambda: None):
        assert not held.is_quiet
        held.settling += 1
    assert not held.is_quiet
    held.settling -= 1

    assert held.is_quiet
