"""Group testing: who kills servers is found, who only was there is let go."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.attempts.line_history import Attempts
from dispatcher.attempts.quarantine import Quarantine


@dataclass(eq=False)
class Line:
    number: int
    is_poison: bool = False
    quickest_s: float = 1.0
    attempts: Attempts = None

    def __post_init__(self):
        self.attempts = Attempts(losses=2, quickest_s=self.quickest_s)


def send_next(quarantine, at_most=64, *, is_killed=False, now=0.0):
    """Send the next group as a server would answer it; return those that failed as poison."""
    group = quarantine.isolate(at_most=at_most)
    dies = is_killed or any(line.is_poison for line in group)
    failed = []
    for line in group:
        if not dies:
            quarantine.clear(line, now)
        elif quarantine.record_loss(line, now):
            failed.append(line)
    return failed


def ended(lines, kills=(), at_most=64):
    """Send until no suspect is left; return (those that failed as poison, servers killed by a poison line)."""
    quarantine = Quarantine()
    for line in lines:
        quarantine.add(line)
    failed, died = [], 0
    for turn in range(10_000):
        if not len(quarantine):
            return failed, died
        before = len(quarantine)
        found = send_next(quarantine, at_most, is_killed=turn in kills)
        failed += found
        died += bool(found) or len(quarantine) == before
    raise AssertionError("it never ends")


def test_innocents_leave_in_groups_that_double():
    """100 lines that were there at two restarts need 7 groups."""
    quarantine = Quarantine()
    for number in range(100):
        quarantine.add(Line(number))

    sizes = []
    while len(quarantine):
        before = len(quarantine)
        assert send_next(quarantine) == []
        sizes.append(before - len(quarantine))

    assert sizes == [1, 2, 4, 8, 16, 32, 37]


def test_a_line_that_is_lost_alone_twice_is_poison():
    """And not after the first time."""
    quarantine = Quarantine()
    poison = Line(1, is_poison=True)
    quarantine.add(poison)

    assert send_next(quarantine) == []
    assert (len(quarantine), poison.attempts.blames) == (1, 1)
    assert send_next(quarantine) == [poison]
    assert len(quarantine) == 0


def test_nobody_in_a_lost_group_is_blamed():
    """Its half is tried next, and the others stay apart."""
    quarantine = Quarantine()
    lines = [Line(n, is_poison=n == 6, quickest_s=n) for n in range(7)]
    for line in lines:
        quarantine.add(line)
    for _ in range(3):
        send_next(quarantine)

    assert [line.attempts.blames for line in lines] == [0] * 7
    assert quarantine.isolate(at_most=64) == lines[3:5]


def test_what_was_lost_soonest_is_tried_first():
    """A poison line mostly kills as soon as it is looked at, its neighbours had been running."""
    quarantine = Quarantine()
    lines = [Line(1, quickest_s=9), Line(2, quickest_s=0.1), Line(3, quickest_s=4)]
    for line in lines:
        quarantine.add(line)

    assert quarantine.first() is lines[1]
    assert quarantine.isolate(at_most=1) == [lines[1]]


def test_where_servers_die_by_themselves_more_is_needed():
    """A line that was blamed and then answered shows it; after an hour that is forgotten."""
    quarantine = Quarantine()
    quarantine.add(Line(1))
    send_next(quarantine, is_killed=True, now=0)
    send_next(quarantine, now=0)

    def kills_it_takes(now):
        quarantine.add(Line(2, is_poison=True))
        return next(n for n in range(1, 9) if send_next(quarantine, now=now))

    assert kills_it_takes(now=10) == 3
    assert kills_it_takes(now=4000) == 2


def test_the_undecided_neither_help_nor_harm():
    """A server that is full says nothing about the line."""
    quarantine = Quarantine()
    line = Line(1)
    quarantine.add(line)
    (tried,) = quarantine.isolate(at_most=1)
    quarantine.release(tried)

    assert (len(quarantine), line.attempts.blames, quarantine.is_busy) == (0, 0, False)


def test_a_group_whose_members_go_home_is_over():
    """A batch may be cancelled in the middle of an isolated attempt."""
    quarantine = Quarantine()
    lines = [Line(n) for n in range(4)]
    for line in lines:
        quarantine.add(line)
    send_next(quarantine)
    first, second = quarantine.isolate(at_most=9)
    quarantine.release(first)
    assert quarantine.is_busy
    quarantine.clear(second, 0)
    assert not quarantine.is_busy

    quarantine.keep_only(lambda line: line is not lines[3])
    assert len(quarantine) == 0


def test_only_lines_that_may_be_tried_there_are_picked():
    """The others keep their turn."""
    quarantine = Quarantine()
    lines = [Line(n) for n in range(3)]
    for line in lines:
        quarantine.add(line)

    assert quarantine.isolate(at_most=9, may=lambda line: line.number == 2) == [lines[2]]
    assert quarantine.first() is lines[0]


@st.composite
def crowds(draw):
    size = draw(st.integers(1, 120))
    poison = draw(st.sets(st.integers(0, size - 1), max_size=6))
    ages = draw(st.lists(st.floats(0, 60), min_size=size, max_size=size))
    return [Line(n, n in poison, ages[n]) for n in range(size)]


@settings(max_examples=150, deadline=None)
@given(crowds(), st.sampled_from([1, 3, 64]))
def test_poison_alone_fails_the_poison_lines_and_nobody_else(lines, at_most):
    """However many there are, in whatever order; each costs a bounded number of servers."""
    failed, died = ended(lines, at_most=at_most)

    poison = [line for line in lines if line.is_poison]
    assert sorted(c.number for c in failed) == [p.number for p in poison]
    assert died <= len(poison) * (math.ceil(math.log2(len(lines) + 1)) + 2)


@settings(max_examples=100, deadline=None)
@given(crowds(), st.sets(st.integers(0, 60), max_size=12))
def test_two_chance_kills_are_needed_to_fail_an_innocent(lines, kills):
    """Servers that are killed by hand never fail whoever was lost alone less than twice."""
    failed, _ = ended(lines, kills)

    assert {p.number for p in lines if p.is_poison} <= {c.number for c in failed}
    assert all(line.is_poison or line.attempts.blames >= 2 for line in failed)


@pytest.mark.parametrize("count", [1, 3, 10])
def test_a_poison_line_costs_few_servers(count):
    """Among 64 in flight, each lost as soon as it was sent: two isolated attempts each."""
    lines = [Line(n, n < count, 0.1 if n < count else 5.0) for n in range(64)]

    failed, died = ended(lines)

    assert len(failed) == count
    assert died == 2 * count
