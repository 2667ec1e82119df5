"""A server that is full gets what it holds, and a little more with each answer."""

from __future__ import annotations

import math

from dispatcher.backends.pressure import Pressure


def test_it_gets_what_it_holds():
    """The smallest number that it held when it refused."""
    pressure = Pressure()
    for held in (9, 7, 8):
        pressure = pressure.record_full(held=held, now=1.0)

    assert pressure.lets(held=6, now=1.0)
    assert not pressure.lets(held=7, now=1.0)


def test_a_round_of_answers_lets_an_eighth_more_in():
    """So that a share that was cut by chance grows back."""
    pressure = Pressure().record_full(held=16, now=0.0)
    for _ in range(16):
        pressure = pressure.record_answer()

    assert pressure.cap == 18
    assert Pressure().record_answer().cap == math.inf


def test_one_that_holds_nothing_rests_longer_each_time_and_never_for_long():
    """It is full of others' requests: asking at once again would be refused again."""
    pressure, rests = Pressure(), []
    for _ in range(9):
        pressure = pressure.record_full(held=0, now=0.0)
        rests.append(pressure.until - 0.0)
        assert not pressure.lets(held=0, now=0.0)
        assert pressure.lets(held=0, now=pressure.until)

    assert rests == sorted(rests)
    assert (rests[0], rests[-1]) == (0.05, 3.0)
    assert pressure.record_answer().lets(held=0, now=0.0)
