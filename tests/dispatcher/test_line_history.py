"""The record of a line's attempts: what each end changes, and that nothing else is changed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import dispatcher
from dispatcher.attempts.line_history import Attempts
from dispatcher.attempts.opinions import Kind
from dispatcher.backends.backend import Backend
from dispatcher.replies.kinds_of_failure import Signature
from dispatcher.replies.policy import FULL_COST, Reason
from dispatcher.replies.verdict import NoAnswer, Retry

HERE, THERE = Backend("a:1", "a:1"), Backend("b:1", "b:1")
RESULT = NoAnswer("x", "y")
KIND = Kind("b", Signature(400, "", ""))


@pytest.mark.parametrize(
    ("reason", "given", "spent"),
    [
        (Reason.SERVER_ERROR, {}, FULL_COST),
        (Reason.ABORTED, {}, 1),
        (Reason.RATE_LIMITED, {}, 0),
        (Reason.RESET, {}, 0),
        (Reason.SERVER_ERROR, {"is_free": True}, 0),
    ],
    ids=["an attempt", "patience", "nothing", "a loss", "free"],
)
def test_an_attempt_costs_what_its_row_says(reason, given, spent):
    """It counts in any case, and the line avoids where it was."""
    charged = Attempts(count=1).charge(Retry(RESULT, reason), backend=HERE, **given)

    assert (charged.count, charged.spent) == (2, spent)
    assert (charged.fails_with, charged.avoid) == (RESULT, HERE)


def test_a_stale_connection_is_remembered():
    """It is free only once."""
    stale = Attempts().charge(Retry(RESULT, Reason.STALE))

    assert stale.was_stale
    assert stale.charge(Retry(RESULT, Reason.SERVER_ERROR)).was_stale


def test_only_a_loss_tells_how_soon_a_server_was_lost():
    """The soonest counts."""
    attempts = Attempts()
    for reason, seconds in [(Reason.TIMEOUT, 1.0), (Reason.RESET, 3.0), (Reason.RESET, 5.0)]:
        attempts = attempts.charge(Retry(RESULT, reason), seconds=seconds)

    assert attempts.quickest_s == 3.0


def test_losses_whose_servers_lived_are_attempts():
    """One by one, or all of them at once."""
    lost_twice = Attempts(spent=1).lose().lose().blame()

    assert (lost_twice.losses, lost_twice.blames, lost_twice.spent) == (2, 1, 1)
    assert lost_twice.survive().spent == 1 + FULL_COST
    assert lost_twice.forgive() == Attempts(spent=1 + 2 * FULL_COST)


def test_whoever_refused_it_is_avoided_whatever_happens_elsewhere():
    """A refusal counts once for each backend and kind."""
    refused = Attempts(avoid=THERE).refuse(HERE, KIND, RESULT).refuse(HERE, KIND, RESULT)
    failed_elsewhere = refused.charge(Retry(RESULT, Reason.TIMEOUT), backend=THERE)

    assert refused.refusals == (("a:1", KIND),)
    assert failed_elsewhere.avoid is HERE


def test_a_fault_of_our_own_leaves_what_is_avoided():
    """It was at no backend."""
    assert Attempts(avoid=HERE).charge(Retry(RESULT, Reason.OUR_FAULT)).avoid is HERE


def test_only_this_room_replaces_the_record():
    """Whoever else knows a line reads its history."""
    rooms = Path(dispatcher.__file__).parent
    writers = {
        path.relative_to(rooms).parts[0]
        for path in rooms.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr == "attempts"
        and isinstance(node.ctx, ast.Store)
    }

    assert writers == {"attempts"}
