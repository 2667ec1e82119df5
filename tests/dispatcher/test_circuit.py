"""The circuit of one backend: each move, by table, and how gently it reopens."""

from __future__ import annotations

import math

import pytest

from dispatcher.backends.circuit import LONGEST_S, Circuit, Signal, State

SHARE = 16


def after(circuit, *signals, now=0.0):
    """Record results of lines that were sent in its present epoch."""
    for signal in signals:
        circuit = circuit.record_result(
            signal, epoch=circuit.epoch, share=SHARE, now=now, why="why"
        )
    return circuit


CLOSED = Circuit()
LOST_ONCE = after(CLOSED, Signal.LOST)
REFUSED = after(CLOSED, Signal.REFUSED)
DEAD = CLOSED.record_death("is gone")
BACK = DEAD.record_alive(share=SHARE)
HUNG = CLOSED.record_hang("hangs", until=300.0)
ERRORS = after(CLOSED, *[Signal.ERROR] * 5)

MOVES = {
    "an answer changes nothing": (CLOSED, Signal.OK, State.CLOSED),
    "one error is the line's": (CLOSED, Signal.ERROR, State.CLOSED),
    "a loss is doubted": (CLOSED, Signal.LOST, State.HALF_OPEN),
    "a refusal opens": (CLOSED, Signal.REFUSED, State.OPEN),
    "slowness says nothing": (CLOSED, Signal.NONE, State.CLOSED),
    "a second loss opens": (LOST_ONCE, Signal.LOST, State.OPEN),
    "refused once more opens": (BACK, Signal.REFUSED, State.OPEN),
    "one answer is not enough": (BACK, Signal.OK, State.HALF_OPEN),
    "an error while half-open is the line's": (BACK, Signal.ERROR, State.HALF_OPEN),
    "old lines do not reopen": (DEAD, Signal.OK, State.OPEN),
    "old lines do not prolong": (DEAD, Signal.LOST, State.OPEN),
}


@pytest.mark.parametrize(("circuit", "signal", "state"), MOVES.values(), ids=MOVES)
def test_what_a_line_tells(circuit, signal, state):
    """Each signal in each state."""
    assert after(circuit, signal).state is state


def test_lines_sent_before_it_was_opened_are_no_news():
    """Thirty lines lost together are one death: the back-off does not grow with their number."""
    opened = after(CLOSED, Signal.REFUSED)
    half = opened.at(opened.until)

    for signal in (Signal.LOST, Signal.REFUSED, Signal.ERROR):
        assert half.record_result(signal, epoch=CLOSED.epoch, share=SHARE, now=9.0) is half


def test_it_opens_longer_with_each_failure_and_never_for_long():
    """A server that the probe sees alive is tried again every three seconds at least."""
    circuit, waits = CLOSED, []
    for _ in range(40):
        circuit = after(circuit, Signal.REFUSED, now=100.0)
        waits.append(circuit.until - 100.0)
        circuit = circuit.at(circuit.until)

    assert waits[:5] == [0.25, 0.5, 1.0, 2.0, LONGEST_S]
    assert max(waits) == LONGEST_S


def test_it_half_opens_when_its_time_is_up():
    """Not before; and not by itself where only the probe can tell."""
    assert REFUSED.at(REFUSED.until - 0.01).state is State.OPEN
    assert REFUSED.at(REFUSED.until).state is State.HALF_OPEN
    assert DEAD.at(1e12).state is State.OPEN


def test_a_backend_that_comes_back_gets_one_line_then_more():
    """One more with each success, twice as many with each look, its share in the end."""
    circuit, allowances = BACK, []
    while circuit.state is not State.CLOSED:
        allowances.append(circuit.allowance)
        circuit = circuit.record_alive(share=SHARE)
    assert allowances == [1, 2, 4, 8]

    assert [after(BACK, *[Signal.OK] * n).allowance for n in (0, 1, 2, 3)] == [1, 2, 3, 4]
    assert after(BACK, *[Signal.OK] * (SHARE - 1)).state is State.CLOSED


def test_a_success_forgives():
    """Errors in a row count; so do failures while half-open."""
    assert after(CLOSED, *[Signal.ERROR] * 4, Signal.OK, *[Signal.ERROR] * 4).state is State.CLOSED
    half = after(CLOSED, *[Signal.REFUSED] * 1).at(1.0)
    assert after(half, Signal.OK).failures == 0


def test_one_that_answers_errors_only_is_open_until_a_canary_is_answered():
    """Neither time nor being alive closes it; a canary is due at once, then less and less often."""
    assert (ERRORS.state, ERRORS.needs_proof, ERRORS.is_due(0.0)) == (State.OPEN, True, True)
    assert ERRORS.at(9e9) is ERRORS
    assert ERRORS.record_alive(share=SHARE) is ERRORS
    assert "errors (why)" in ERRORS.reason
    dues, circuit = [], ERRORS
    for _ in range(8):
        circuit = circuit.record_failed_proof("500", 100.0)
        dues.append(circuit.until - 100.0)
    assert (dues[0], dues[-1]) == (0.25, LONGEST_S)
    assert circuit.record_proof(200.0).state is State.HALF_OPEN


def test_what_fails_right_after_a_canary_was_answered_is_the_lines_fault():
    """For a while, and longer each time that the alarm was false; a canary that fails ends that."""
    proven = ERRORS.record_proof(100.0)
    assert after(proven, *[Signal.ERROR] * 9, now=101.0).state is State.HALF_OPEN
    assert after(proven, Signal.UNUSABLE, now=101.0).state is State.HALF_OPEN
    again = after(proven, *[Signal.ERROR] * 9, now=102.0)
    assert (again.state, again.needs_proof) == (State.OPEN, True)

    assert again.record_proof(200.0).trusted_until == 204.0
    assert again.record_failed_proof("500", 200.0).record_proof(300.0).trusted_until == 302.0
    late = proven
    for now in range(1000, 1900, 100):
        late = after(late, *[Signal.ERROR] * 9, now=now).record_proof(now)
    assert late.trusted_until == 1810.0


def test_one_that_lets_nobody_in_is_open_at_once():
    """The key was changed: all lines would find that out one by one."""
    opened = after(CLOSED, Signal.UNUSABLE)

    assert (opened.state, opened.needs_proof, opened.reason) == (State.OPEN, True, "why")


@pytest.mark.parametrize("signal", [Signal.FULL, Signal.REJECTED])
def test_what_proves_nothing_moves_nothing(signal):
    """A server that is full is not broken; one that refuses lines may be right."""
    assert after(CLOSED, *[signal] * 99) is CLOSED
    assert after(BACK, signal) is BACK


def test_one_whose_proof_is_due_may_die():
    """What is started in its place is a new server."""
    dead = ERRORS.record_death("is gone")

    assert not dead.needs_proof
    assert dead.record_alive(share=SHARE).state is State.HALF_OPEN
    assert DEAD.record_proof(1.0) is DEAD
    assert DEAD.record_failed_proof("500", 1.0) is DEAD


def test_being_alive_is_not_enough_after_a_hang():
    """It answered the probe while it hung; only an answered line shows that it works."""
    moved = HUNG.record_movement()
    again = HUNG.at(300.0)

    assert HUNG.record_alive(share=SHARE).state is State.OPEN
    for back in (moved, again):
        assert (back.state, back.allowance) == (State.HALF_OPEN, 1)
        assert back.record_alive(share=SHARE) is back
        assert not after(back, Signal.OK).is_after_hang
    assert HUNG.record_hang("hangs", until=9e9) is HUNG
    assert REFUSED.record_movement() is REFUSED


def test_one_that_was_silent_and_then_gone_is_a_new_server_when_it_is_back():
    """Killed after its hang and started again: trusted like any other."""
    silent = CLOSED.record_death("hangs: no answer", is_after_hang=True)

    assert silent.record_alive(share=SHARE).is_after_hang
    assert not silent.record_death("does not accept connections").is_after_hang
    assert silent.record_death("hangs: for longer", is_after_hang=True).epoch == silent.epoch
    assert DEAD.until == math.inf


def test_one_that_hung_and_then_gives_errors_needs_a_proof_however_it_moves():
    """That something in it moves proves nothing of its answers."""
    back = HUNG.at(300.0)
    unproven = after(back, Signal.UNUSABLE, now=300.0)

    assert unproven.record_movement() is unproven
    assert unproven.is_due(300.0)
