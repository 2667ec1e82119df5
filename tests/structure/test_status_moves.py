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
from batchline.webhooks.records import Ask, DeliveryState, EventType

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


def statements(files="*.sql"):
    """Every named statement: name without its mark -> text."""
    text = "\n".join(path.read_text() for path in sorted(SQL.glob(files)))
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


@pytest.mark.parametrize(
    ("migration", "words"),
    [
        ("0001_start", {"status": BatchStatus, "state": SliceState}),
        ("0013_outbox", {"ask": Ask, "state": DeliveryState}),
    ],
)
def test_the_schema_allows_exactly_the_known_states(migration, words):
    """CHECK constraints hold the words of the enums."""
    schema = (SQL / "migrations" / f"{migration}.sql").read_text()
    lists = re.findall(r"CHECK \((\w+) IN \(([^)]*)\)", schema)

    found = {column: set(re.findall(r"'(\w+)'", text)) for column, text in lists}

    assert found == {column: set(known) for column, known in words.items()}


def test_the_trigger_notes_exactly_the_ends_of_batches():
    """Whoever adds an end is told that nobody would hear of it."""
    schema = (SQL / "migrations" / "0013_outbox.sql").read_text()
    lists = re.findall(r"(\w+)\.status (NOT )?IN \(([^)]*)\)", schema)

    found = [(row, is_not, set(re.findall(r"'(\w+)'", text))) for row, is_not, text in lists]

    assert found == [("NEW", "", TERMINAL), ("OLD", "NOT ", TERMINAL)]
    assert set(EventType) == {f"batch.{status}" for status in TERMINAL}


@pytest.mark.parametrize(
    ("files", "known"), [("sqlite.sql", SliceState), ("outbox.sql", DeliveryState)]
)
def test_a_row_is_only_ever_put_into_a_known_state(files, known):
    """Every state of a slice or a delivery that is written in SQL is a member of its enum."""
    text = "\n".join(statements(files).values())
    written = re.findall(r"\bstate (?:=|!=|IN) \(?('[^)\n;]*)", text)
    words = set(re.findall(r"'(\w+)'", " ".join(written)))

    assert words
    assert words <= set(known)
