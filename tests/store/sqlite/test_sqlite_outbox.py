"""The outbox on SQLite: what a statement costs, and that an end and its event are one transaction."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hooks import TO_SETTING, address, deliveries, endpoint, events
from steps import NOW, leases, settle, status

from batchline.model import Fault
from batchline.states import BatchStatus
from batchline.store.sqlite.base import statement
from batchline.store.webhook_rows import endpoint_row

SQL = Path(__file__).parents[3] / "batchline/store/sql/outbox.sql"
NAMES = re.findall(r"^-- name: (\w+)", SQL.read_text("utf-8"), re.MULTILINE)
MANY = 10_000
FEW_STEPS = (
    3_000  # of SQLite's machine: each of the statements takes up to 1,600 for what it touches
)
ASKED = {
    "id": "we_1",
    "after": 1 << 62,
    "before": 1 << 62,
    "limit": 10,
    "now": NOW,
    "now_ms": NOW * 1000,
    "until_ms": NOW * 1000 + 9,
    "number": MANY // 2,
    "created_at": NOW,
    "updated_at": NOW,
    "seq": MANY,
    "token": 0,
    "event_id": "evt_new",
    "endpoint_id": "we_1",
    "batch_id": f"batch_{MANY // 2}",
    "type": "batch.failed",
    "ask": "setting",
    "url": "https://new",
    "origin": "https://new:443",
    "name": "new",
    "event_types": '["batch.failed"]',
    "secret": "s",
    "keep_until": None,
    "error": "gone",
    "state": "delivered",
    "due_at": NOW,
    "status": 200,
    "but": "[]",
    "handlers": "[]",
    "lines_done": 1,
    "checkpoint": b"{}",
    "deaths": 0,
    "ended_before": NOW,
    "made_before": NOW + 1,
}
ALL_OF_ITS = {
    "outbox_figures": 5_000,  # counts what waits, and what was given up: a thousand here
    "move_deliveries": 60_000,  # reads all deliveries of one endpoint, as the next
    "give_up_deliveries": 60_000,
    "forget_events": 200_000,  # reads old events, whose deliveries are mostly forgotten before
}


@contextmanager
def written(engine):
    with closing(sqlite3.connect(engine.path)) as connection, connection:
        yield connection


def fill(engine):
    """Put in 10,000 batches' ends: of each delivery a twentieth waits, and ten endpoints share them."""
    with written(engine) as db:
        for number in range(10):
            row = endpoint_row(endpoint(str(number)))
            db.execute(statement("add_endpoint"), row)
        numbers = range(1, MANY + 1)
        db.executemany(
            "INSERT INTO events (id, type, created_at, batch_id, is_addressed)"
            " VALUES (?, 'batch.failed', ?, ?, ?)",
            [(f"evt_{n}", NOW - MANY + n, f"batch_{n}", n <= MANY - 5) for n in numbers],
        )
        db.executemany(
            "INSERT INTO deliveries (event_id, ask, endpoint_id, url, origin, due_at, since, state, ended_at)"
            " VALUES (?, 'endpoint', ?, 'https://one', 'https://one:443', ?, ?, ?, ?)",
            [(f"evt_{n}", f"we_{n % 10}", NOW, NOW, *state_of(n)) for n in range(1, MANY - 4)],
        )


def state_of(number):
    if number % 20 == 1:
        return "pending", None
    return ("given_up" if number % 20 == 2 else "delivered"), NOW - MANY + number


def steps_of(connection, name, **asked):
    """Count the steps that SQLite's machine makes for a statement; its work is taken back."""
    made = []
    connection.execute("BEGIN")
    connection.set_progress_handler(lambda: made.append(1), 1)
    connection.execute(statement(name), ASKED | asked).fetchall()
    connection.execute("ROLLBACK")
    connection.set_progress_handler(None, 0)
    return len(made)


@pytest.fixture
async def filled(engine, store):
    fill(engine)
    with closing(sqlite3.connect(engine.path, isolation_level=None)) as connection:
        yield connection


async def test_each_statement_costs_what_it_touches(filled):
    """However long the log is: none reads all deliveries, or all events."""
    own = {"add_endpoint": {"id": "we_new"}}
    found = {name: steps_of(filled, name, **own.get(name, {})) for name in NAMES}

    assert {n: s for n, s in found.items() if s > ALL_OF_ITS.get(n, FEW_STEPS)} == {}


async def test_what_waits_for_a_receiver_that_is_out_costs_no_claim(filled):
    """A hundred thousand of them would hold up all others."""
    filled.execute("UPDATE deliveries SET state = 'pending', ended_at = NULL")

    assert steps_of(filled, "claimable_deliveries", but='["https://one:443"]') < FEW_STEPS


@contextmanager
def tearing(engine, table, *, at=1):
    """Let the insert of that row fail, as a full disk would."""
    with written(engine) as db:
        db.execute(
            f"CREATE TRIGGER torn BEFORE INSERT ON {table}"
            f" WHEN (SELECT count(*) FROM {table}) >= {at - 1}"
            " BEGIN SELECT RAISE(ABORT, 'torn'); END"
        )
    yield
    with written(engine) as db:
        db.execute("DROP TRIGGER torn")


async def test_a_batch_ends_only_with_its_event(engine, store, make_batch):
    """Torn, it has not ended; tried again, it is told once."""
    batch = await make_batch(lines=4)
    await settle(store, batch, (await leases(store, batch))[0])

    async def close():
        end = BatchStatus.COMPLETED
        return await store.close(batch, end, output=None, error=None, now=NOW)

    with tearing(engine, "events"):
        with pytest.raises(AssertionError, match="torn"):
            await close()
        torn = await status(store, batch)

    assert torn is BatchStatus.FINALIZING
    assert await close()
    assert [event.batch_id for event in await events(store)] == [batch.id]


async def test_an_event_is_addressed_to_all_or_to_nobody(engine, store, make_batch):
    """Else one of its receivers would never hear of it."""
    for name in "ab":
        await store.add_endpoint(endpoint(name))
    await store.reject(await make_batch(), [Fault("x", "y")], now=NOW)

    with tearing(engine, "deliveries", at=3), pytest.raises(AssertionError, match="torn"):
        await address(store, standing=TO_SETTING)
    torn = await deliveries(store)
    await address(store, standing=TO_SETTING)

    assert torn == []
    assert [told.endpoint_id for told in await deliveries(store)] == ["we_a", "we_b", None]
