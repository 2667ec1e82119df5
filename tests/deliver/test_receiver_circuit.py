"""Receivers that fail again and again: when they are left alone, for how long, and how they come back."""

from __future__ import annotations

import pytest

from deliver.receiver_circuit import MOST_AT_ONCE, OPEN_AFTER, Receivers

ONE, OTHER = "https://one.example:443", "https://other.example:443"
NOW = 1000.0


def attempts(receivers, many, *, now=NOW, is_taken=False, origin=ONE):
    """Make attempts one after the other."""
    for _ in range(many):
        receivers.begin(origin)
        receivers.end(origin, now, is_taken=is_taken)


def spell_of(receivers, now):
    """Return how long the receiver is left alone from now on, to the second."""
    return next(s for s in range(10_000) if ONE not in receivers.busy(now + s))


@pytest.fixture
def receivers():
    return Receivers()


@pytest.fixture
def opened(receivers):
    """A receiver that has failed so often that it is left alone from NOW on."""
    attempts(receivers, OPEN_AFTER)
    return receivers


def test_a_receiver_gets_a_few_attempts_at_a_time(receivers):
    """A slow one takes few of all; another has its own."""
    for _ in range(MOST_AT_ONCE):
        assert receivers.busy(NOW) == set()
        receivers.begin(ONE)
    receivers.begin(OTHER)

    assert receivers.busy(NOW) == {ONE}
    receivers.end(ONE, NOW, is_taken=True)
    assert receivers.busy(NOW) == set()


def test_it_is_left_alone_after_failures_in_a_row(receivers):
    """One that takes something between them is not out."""
    attempts(receivers, OPEN_AFTER - 1)
    attempts(receivers, 1, is_taken=True)
    attempts(receivers, OPEN_AFTER - 1)
    before = receivers.busy(NOW), receivers.out(NOW)

    attempts(receivers, 1)
    attempts(receivers, OPEN_AFTER - 1, origin=OTHER)

    assert before == (set(), 0)
    assert (receivers.busy(NOW), receivers.out(NOW)) == ({ONE}, 1)


def test_it_gets_one_attempt_when_its_time_is_over(opened):
    """Not all that waited meanwhile."""
    now = NOW + spell_of(opened, NOW)

    opened.begin(ONE)

    assert opened.busy(now) == {ONE}
    assert opened.out(now) == 0


def test_one_that_takes_it_is_as_any_other(opened):
    """At once, with as many attempts as ever, and nothing is remembered."""
    now = NOW + spell_of(opened, NOW)

    attempts(opened, 1, now=now, is_taken=True)
    for _ in range(MOST_AT_ONCE - 1):
        opened.begin(ONE)

    assert opened.busy(now) == set()
    for _ in range(MOST_AT_ONCE - 1):
        opened.end(ONE, now, is_taken=True)
    attempts(opened, OPEN_AFTER - 1, now=now)
    assert opened.busy(now) == set()


def test_each_failed_attempt_doubles_the_time_up_to_ten_minutes(opened):
    """So that a receiver that is gone for days costs little, and one that comes back waits ten minutes."""
    now, spells = NOW, []
    for _ in range(12):
        spells.append(spell_of(opened, now))
        now += spells[-1]
        attempts(opened, 1, now=now)

    assert spells == [5, 10, 20, 40, 80, 160, 320, 600, 600, 600, 600, 600]


def test_attempts_that_were_under_way_prolong_nothing(receivers):
    """One outage fails all of them: it is one piece of news."""
    attempts(receivers, OPEN_AFTER - 1)
    for _ in range(MOST_AT_ONCE):
        receivers.begin(ONE)
    for _ in range(MOST_AT_ONCE):
        receivers.end(ONE, NOW, is_taken=False)

    assert spell_of(receivers, NOW) == 5


def test_a_late_success_opens_the_way(opened):
    """It was slow, and is there."""
    opened.begin(ONE)
    opened.end(ONE, NOW + 1, is_taken=True)

    assert opened.busy(NOW + 1) == set()


def test_so_many_receivers_are_remembered_and_none_with_an_attempt_is_forgotten(receivers):
    """Whoever writes ever new addresses fills no memory."""
    receivers.begin(ONE)
    for number in range(12_000):
        attempts(receivers, 1, origin=f"https://r{number}.example:443")

    assert len(receivers._known) == 10_000
    receivers.end(ONE, NOW, is_taken=True)
