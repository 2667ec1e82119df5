"""The table of moves and the SQL that performs them say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchline.states import (
    CANCELLABLE,
    OPEN,
    PAUSABLE,
    PUBLISHABLE,
    TERMINAL,
    TRANSITIONS,
    BatchEvent,
    BatchStatus,
    SliceState,
)

SQL = Path(__file__).parents[2] / "batchline" / "store" / "sql"
EVENTS = {
    "accept": BatchEvent.ACCEPT,
    "reject": BatchEvent.REJECT,
    "drain": BatchEvent.DRAIN,
    "lapse": BatchEvent.LAPSE,
    "cancel_batch": BatchEvent.CANCEL,
    "close_completed": BatchEvent.PUBLISH_COMPLETED,
    "close_expired": BatchEvent.PUBLISH_EXPIRED,
    "close_cancelled": BatchEvent.PUBLISH_CANCELLED,
    "break_batch": BatchEvent.BREAK,
    "mend_reopen": BatchEvent.REOPEN,
}
NAMED_SETS = {OPEN, TERMINAL, CANCELLABLE, PAUSABLE, PUBLISHABLE}


def statements():
    """Every named statement: name without its mark -> text."""
    text = "\n".join(path.read_text() for path in sorted(SQL.glob("*.sql")))
    parts = re.split(r"^-- name: (\w+)\S*\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def target(text):
    """The status that a statement sets on a batch, or None."""
    found = re.search(
        r"UPDATE batches\s+SET\s+(?:[^;]*?,\s*)?status = '(\w+)'", text.split("WHERE")[0]
    )
    return found and found[1]


def sources(text):
    """The statuses that a text compares with: one word or a list."""
    one = re.findall(r"\bstatus = '(\w+)'", text)
    many = re.findall(r"\bstatus IN \(([^)]*)\)", text)
    return frozenset(one) | frozenset(re.findall(r"'(\w+)'", " ".join(many)))


STATEMENTS = statements()
MOVES = {name: text for name, text in STATEMENTS.items() if target(text)}


def test_every_event_has_its_statement_and_every_statement_its_event():
    """No move exists in one place only."""
    assert set(MOVES) == set(EVENTS)
    assert set(EVENTS.values()) == set(TRANSITIONS)


@pytest.mark.parametrize("name", sorted(MOVES))
def test_a_move_in_sql_is_the_move_of_the_table(name):
    """Target and WHERE of the statement are the row of `TRANSITIONS`."""
    text = MOVES[name]
    expected_sources, expected_target = TRANSITIONS[EVENTS[name]]

    assert target(text) == expected_target
    assert sources(text.split("WHERE", 1)[1]) == expected_sources


def test_a_list_of_statuses_in_sql_is_a_named_set():
    """Whoever adds a status to a set in `states` is told which statements repeat it."""
    for name in sorted(set(STATEMENTS) - set(MOVES)):
        for words in re.findall(r"\b(?:b\.)?status IN \(([^)]*)\)", STATEMENTS[name]):
            assert frozenset(re.findall(r"'(\w+)'", words)) in NAMED_SETS, (name, words)


def test_the_schema_allows_exactly_the_known_states():
    """CHECK constraints hold the words of the enums."""
    schema = (SQL / "migrations" / "0001_start.sql").read_text()
    lists = re.findall(r"CHECK \((\w+) IN \(([^)]*)\)", schema)
    words = {column: set(re.findall(r"'(\w+)'", text)) for column, text in lists}

    assert words == {"status": set(BatchStatus), "state": set(SliceState)}


def test_a_slice_is_only_ever_put_into_a_known_state():
    """Every state of a slice that is written in SQL is a member of `SliceState`."""
    written = re.findall(r"\bstate (?:=|IN) \(?('[^)\n;]*)", "\n".join(STATEMENTS.values()))
    words = set(re.findall(r"'(\w+)'", " ".join(written)))

    assert words
    assert words <= set(SliceState)
