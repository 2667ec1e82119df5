"""Deadlines of running batches, by a clock that may jump."""

from __future__ import annotations

from dispatcher.batches.windows import Windows


def test_a_deadline_that_passes_is_told_once():
    """And those that have not passed are not looked at."""
    windows = Windows()
    windows.add(1, 100)
    windows.add(2, 200)

    assert windows.look(99) == set()
    assert windows.look(100) == {1}
    assert windows.look(150) == set()
    assert (windows.is_over(1), windows.is_over(2)) == (True, False)


def test_a_clock_that_goes_back_takes_it_back():
    """The batch runs on, and its deadline passes again."""
    windows = Windows()
    windows.add(1, 100)
    windows.look(500)

    assert windows.look(50) == {1}
    assert not windows.is_over(1)
    assert windows.look(100) == {1}


def test_what_is_removed_is_not_told_of():
    """Neither before its deadline nor after it; adding a batch again changes nothing."""
    windows = Windows()
    for seq in (1, 2):
        windows.add(seq, 100)
        windows.add(seq, 100)
    windows.remove(1)
    windows.remove(9)

    assert windows.look(100) == {2}
    windows.remove(2)
    assert (windows.is_over(2), windows.look(0)) == (False, set())
