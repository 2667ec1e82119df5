"""The circuit of one backend: each move, by table, and how gently it reopens."""

from __future__ import annotations

import math

import pytest

from dispatcher.backends.circuit import LONGEST_S, Circuit, Sign, State

SHARE = 16


def heard(circuit, *signs, now=0.0):
    """Let it hear of lines that were sent in its present epoch."""
    for sign in signs:
        circuit = circuit.heard(sign, epoch=circuit.epoch, share=SHARE, now=now, why="why")
    return circuit


CLOSED = Circuit()
DOUBTED = heard(CLOSED, Sign.LOST)
REFUSED = heard(CLOSED, Sign.REFUSED)
DEAD = CLOSED.seen_dead("is gone")
BACK = DEAD.seen_alive(share=SHARE)
HUNG = CLOSED.hung("hangs", until=300.0)
ERRORS = heard(CLOSED, *[Sign.ERROR] * 5)

MOVES = {
    "an answer changes nothing": (CLOSED, Sign.WELL, State.CLOSED),
    "one error is the line's": (CLOSED, Sign.ERROR, State.CLOSED),
    "a loss is doubted": (CLOSED, Sign.LOST, State.HALF_OPEN),
    "a refusal opens": (CLOSED, Sign.REFUSED, State.OPEN),
    "slowness says nothing": (CLOSED, Sign.NOTHING, State.CLOSED),
    "a second loss opens": (DOUBTED, Sign.LOST, State.OPEN),
    "a refused trial opens": (BACK, Sign.REFUSED, State.OPEN),
    "one good trial is not enough": (BACK, Sign.WELL, State.HALF_OPEN),
    "an error on trial is the line's": (BACK, Sign.ERROR, State.HALF_OPEN),
    "old lines do not reopen": (DEAD, Sign.WELL, State.OPEN),
    "old lines do not prolong": (DEAD, Sign.LOST, State.OPEN),
}


@pytest.mark.parametrize(("circuit", "sign", "state"), MOVES.values(), ids=MOVES)
def test_what_a_line_tells(circuit, sign, state):
    """Each sign in each state."""
    assert heard(circuit, sign).state is state


def test_lines_sent_before_it_was_opened_are_no_news():
    """Thirty lines lost together are one death: the back-off does not grow with their number."""
    opened = heard(CLOSED, Sign.REFUSED)
    half = opened.at(opened.until)

    for sign in (Sign.LOST, Sign.REFUSED, Sign.ERROR):
        assert half.heard(sign, epoch=CLOSED.epoch, share=SHARE, now=9.0) is half


def test_it_opens_longer_with_each_failed_trial_and_never_for_long():
    """A server that the probe sees alive is tried again every three seconds at least."""
    circuit, waits = CLOSED, []
    for _ in range(40):
        circuit = heard(circuit, Sign.REFUSED, now=100.0)
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
        circuit = circuit.seen_alive(share=SHARE)
    assert allowances == [1, 2, 4, 8]

    assert [heard(BACK, *[Sign.WELL] * n).allowance for n in (0, 1, 2, 3)] == [1, 2, 3, 4]
    assert heard(BACK, *[Sign.WELL] * (SHARE - 1)).state is State.CLOSED


def test_a_success_forgives():
    """Errors in a row count; so do failed trials."""
    assert heard(CLOSED, *[Sign.ERROR] * 4, Sign.WELL, *[Sign.ERROR] * 4).state is State.CLOSED
    half = heard(CLOSED, *[Sign.REFUSED] * 1).at(1.0)
    assert heard(half, Sign.WELL).failures == 0


def test_one_that_answers_errors_only_is_open_until_a_canary_is_answered():
    """Neither time nor being alive closes it; a canary is due at once, then less and less often."""
    assert (ERRORS.state, ERRORS.needs_proof, ERRORS.is_due(0.0)) == (State.OPEN, True, True)
    assert ERRORS.at(9e9) is ERRORS
    assert ERRORS.seen_alive(share=SHARE) is ERRORS
    assert "errors (why)" in ERRORS.reason
    dues, circuit = [], ERRORS
    for _ in range(8):
        circuit = circuit.disproven("500", 100.0)
        dues.append(circuit.until - 100.0)
    assert (dues[0], dues[-1]) == (0.25, LONGEST_S)
    assert circuit.proven(200.0).state is State.HALF_OPEN


def test_what_fails_right_after_a_canary_was_answered_is_the_lines_fault():
    """For a while, and longer each time that the alarm was false; a canary that fails ends that."""
    proven = ERRORS.proven(100.0)
    assert heard(proven, *[Sign.ERROR] * 9, now=101.0).state is State.HALF_OPEN
    assert heard(proven, Sign.UNUSABLE, now=101.0).state is State.HALF_OPEN
    again = heard(proven, *[Sign.ERROR] * 9, now=102.0)
    assert (again.state, again.needs_proof) == (State.OPEN, True)

    assert again.proven(200.0).trusted_until == 204.0
    assert again.disproven("500", 200.0).proven(300.0).trusted_until == 302.0
    late = proven
    for now in range(1000, 1900, 100):
        late = heard(late, *[Sign.ERROR] * 9, now=now).proven(now)
    assert late.trusted_until == 1810.0


def test_one_that_lets_nobody_in_is_open_at_once():
    """The key was changed: all lines would find that out one by one."""
    opened = heard(CLOSED, Sign.UNUSABLE)

    assert (opened.state, opened.needs_proof, opened.reason) == (State.OPEN, True, "why")


@pytest.mark.parametrize("sign", [Sign.FULL, Sign.REJECTED])
def test_what_proves_nothing_moves_nothing(sign):
    """A server that is full is not broken; one that refuses lines may be right."""
    assert heard(CLOSED, *[sign] * 99) is CLOSED
    assert heard(BACK, sign) is BACK


def test_one_whose_proof_is_due_may_die():
    """What is started in its place is a new server."""
    dead = ERRORS.seen_dead("is gone")

    assert not dead.needs_proof
    assert dead.seen_alive(share=SHARE).state is State.HALF_OPEN
    assert DEAD.proven(1.0) is DEAD
    assert DEAD.disproven("500", 1.0) is DEAD


def test_being_alive_is_not_enough_after_a_hang():
    """It answered the probe while it hung; only an answered line shows that it works."""
    moved = HUNG.moved()
    again = HUNG.at(300.0)

    assert HUNG.seen_alive(share=SHARE).state is State.OPEN
    for trial in (moved, again):
        assert (trial.state, trial.allowance) == (State.HALF_OPEN, 1)
        assert trial.seen_alive(share=SHARE) is trial
        assert not heard(trial, Sign.WELL).is_wary
    assert HUNG.hung("hangs", until=9e9) is HUNG
    assert REFUSED.moved() is REFUSED


def test_one_that_was_silent_and_then_gone_is_a_new_server_when_it_is_back():
    """Killed after its hang and started again: trusted like any other."""
    silent = CLOSED.seen_dead("hangs: no answer", is_wary=True)

    assert silent.seen_alive(share=SHARE).is_wary
    assert not silent.seen_dead("does not accept connections").is_wary
    assert silent.seen_dead("hangs: for longer", is_wary=True).epoch == silent.epoch
    assert DEAD.until == math.inf


def test_one_that_hung_and_then_gives_errors_needs_a_proof_however_it_moves():
    """That something in it moves proves nothing of its answers."""
    back = HUNG.at(300.0)
    doubted = heard(back, Sign.UNUSABLE, now=300.0)

    assert doubted.moved() is doubted
    assert doubted.is_due(300.0)
