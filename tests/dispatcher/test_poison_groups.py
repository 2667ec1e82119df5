"""Group testing: who kills servers is found, who only was there is let go."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.attempts.line_history import Attempts
from dispatcher.attempts.poison import Suspects


@dataclass(eq=False)
class Line:
    number: int
    is_poison: bool = False
    quickest_s: float = 1.0
    attempts: Attempts = None

    def __post_init__(self):
        self.attempts = Attempts(losses=2, quickest_s=self.quickest_s)


def trial(suspects, at_most=64, *, is_killed=False, now=0.0):
    """Try the next group as a server would; return the condemned."""
    group = suspects.pick(at_most=at_most)
    dies = is_killed or any(line.is_poison for line in group)
    condemned = []
    for line in group:
        if not dies:
            suspects.answered(line, now)
        elif suspects.lost(line, now):
            condemned.append(line)
    return condemned


def ended(lines, kills=(), at_most=64):
    """Try until no suspect is left; return (condemned, servers killed by a poison line)."""
    suspects = Suspects()
    for line in lines:
        suspects.add(line)
    condemned, died = [], 0
    for turn in range(10_000):
        if not len(suspects):
            return condemned, died
        before = len(suspects)
        found = trial(suspects, at_most, is_killed=turn in kills)
        condemned += found
        died += bool(found) or len(suspects) == before
    raise AssertionError("it never ends")


def test_innocents_leave_in_groups_that_double():
    """100 lines that were there at two restarts need 7 trials."""
    suspects = Suspects()
    for number in range(100):
        suspects.add(Line(number))

    sizes = []
    while len(suspects):
        before = len(suspects)
        assert trial(suspects) == []
        sizes.append(before - len(suspects))

    assert sizes == [1, 2, 4, 8, 16, 32, 37]


def test_a_line_that_is_lost_alone_twice_is_condemned():
    """And not after the first time."""
    suspects = Suspects()
    poison = Line(1, is_poison=True)
    suspects.add(poison)

    assert trial(suspects) == []
    assert (len(suspects), poison.attempts.blames) == (1, 1)
    assert trial(suspects) == [poison]
    assert len(suspects) == 0


def test_nobody_in_a_lost_group_is_blamed():
    """Its half is tried next, and the others stay apart."""
    suspects = Suspects()
    lines = [Line(n, is_poison=n == 6, quickest_s=n) for n in range(7)]
    for line in lines:
        suspects.add(line)
    for _ in range(3):
        trial(suspects)

    assert [line.attempts.blames for line in lines] == [0] * 7
    assert suspects.pick(at_most=64) == lines[3:5]


def test_what_was_lost_soonest_is_tried_first():
    """A poison line mostly kills as soon as it is looked at, its neighbours had been running."""
    suspects = Suspects()
    lines = [Line(1, quickest_s=9), Line(2, quickest_s=0.1), Line(3, quickest_s=4)]
    for line in lines:
        suspects.add(line)

    assert suspects.first() is lines[1]
    assert suspects.pick(at_most=1) == [lines[1]]


def test_where_servers_die_by_themselves_more_is_needed():
    """A line that was blamed and then answered shows it; after an hour that is forgotten."""
    suspects = Suspects()
    suspects.add(Line(1))
    trial(suspects, is_killed=True, now=0)
    trial(suspects, now=0)

    def kills_it_takes(now):
        suspects.add(Line(2, is_poison=True))
        return next(n for n in range(1, 9) if trial(suspects, now=now))

    assert kills_it_takes(now=10) == 3
    assert kills_it_takes(now=4000) == 2


def test_the_undecided_neither_help_nor_harm():
    """A server that is full says nothing about the line."""
    suspects = Suspects()
    line = Line(1)
    suspects.add(line)
    (tried,) = suspects.pick(at_most=1)
    suspects.undecided(tried)

    assert (len(suspects), line.attempts.blames, suspects.is_on_trial) == (0, 0, False)


def test_a_group_whose_members_go_home_is_over():
    """A batch may be cancelled in the middle of a trial."""
    suspects = Suspects()
    lines = [Line(n) for n in range(4)]
    for line in lines:
        suspects.add(line)
    trial(suspects)
    first, second = suspects.pick(at_most=9)
    suspects.undecided(first)
    assert suspects.is_on_trial
    suspects.answered(second, 0)
    assert not suspects.is_on_trial

    suspects.keep_only(lambda line: line is not lines[3])
    assert len(suspects) == 0


def test_only_lines_that_may_be_tried_there_are_picked():
    """The others keep their turn."""
    suspects = Suspects()
    lines = [Line(n) for n in range(3)]
    for line in lines:
        suspects.add(line)

    assert suspects.pick(at_most=9, may=lambda line: line.number == 2) == [lines[2]]
    assert suspects.first() is lines[0]


@st.composite
def crowds(draw):
    size = draw(st.integers(1, 120))
    poison = draw(st.sets(st.integers(0, size - 1), max_size=6))
    ages = draw(st.lists(st.floats(0, 60), min_size=size, max_size=size))
    return [Line(n, n in poison, ages[n]) for n in range(size)]


@settings(max_examples=150, deadline=None)
@given(crowds(), st.sampled_from([1, 3, 64]))
def test_poison_alone_condemns_the_poison_lines_and_nobody_else(lines, at_most):
    """However many there are, in whatever order; each costs a bounded number of servers."""
    condemned, died = ended(lines, at_most=at_most)

    poison = [line for line in lines if line.is_poison]
    assert sorted(c.number for c in condemned) == [p.number for p in poison]
    assert died <= len(poison) * (math.ceil(math.log2(len(lines) + 1)) + 2)


@settings(max_examples=100, deadline=None)
@given(crowds(), st.sets(st.integers(0, 60), max_size=12))
def test_two_chance_kills_are_needed_to_condemn_an_innocent(lines, kills):
    """Servers that are killed by hand never condemn whoever was lost alone less than twice."""
    condemned, _ = ended(lines, kills)

    assert {p.number for p in lines if p.is_poison} <= {c.number for c in condemned}
    assert all(line.is_poison or line.attempts.blames >= 2 for line in condemned)


@pytest.mark.parametrize("count", [1, 3, 10])
def test_a_poison_line_costs_few_servers(count):
    """Among 64 in flight, each lost as soon as it was sent: two trials each."""
    lines = [Line(n, n < count, 0.1 if n < count else 5.0) for n in range(64)]

    condemned, died = ended(lines)

    assert len(condemned) == count
    assert died == 2 * count
