"""Databases of every earlier schema: brought up to date, whatever interrupts that, and worked off."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from old_versions import ENDED, LINES, NOW, SCHEMAS, Past, dump, old_database

from batchline.errors import NewerStore, StoreUnavailable
from batchline.model import Fault
from batchline.process.failpoints import arm
from batchline.store import open_store
from batchline.store.database.connection import open_database
from batchline.store.database.schema import migrations, statements
from batchline.webhooks.records import Standing

NEWEST = SCHEMAS[-1]
OPEN_AND_CLOSE = """
import asyncio, sys
from pathlib import Path
from batchline.process.failpoints import arm
from batchline.store.database.connection import open_database

async def main():
    database = await open_database(Path(sys.argv[1]))
    await database.close()

arm(sys.argv[2])
asyncio.run(main())
"""


@pytest.fixture
async def past(blobs):
    made = Past(blobs)
    await made.fill()
    return made


@pytest.fixture(autouse=True)
def disarmed():
    yield
    arm("")


async def open_and_close(path):
    database = await open_database(path)
    await database.close()


def opening(path, failpoints=""):
    """Open the database in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", OPEN_AND_CLOSE, path, failpoints], stderr=subprocess.PIPE
    )


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_a_batch_of_an_earlier_version_is_finished(tmp_path, past, make_bench, schema):
    """What was settled then stays, what was open is sent once, nothing of a terminal batch changes."""
    old_database(tmp_path / "batchline.sqlite3", schema, past.rows)
    async with make_bench() as bench:
        before = {name: await bench.store.get_batch(f"batch_{name}") for name in past.batches}
        async with bench.running():
            ends = {
                name: await bench.ended(before[name])
                for name in ("validating", "in_progress", "finalizing", "cancelling", *ENDED)
            }
            waiting = await bench.store.get_batch("batch_paused")
            await bench.store.resume_batch("batch_paused")
            ends["paused"] = await bench.ended(waiting)
        results = {
            name: await bench.results(ends[name])
            for name in ("validating", "in_progress", "finalizing", "cancelling", "paused")
        }

    assert {name: ends[name] for name in ENDED} == {name: before[name] for name in ENDED}
    assert {name: str(batch.status) for name, batch in ends.items()} == {
        **{name: name for name in ENDED},
        **dict.fromkeys(("validating", "in_progress", "finalizing", "paused"), "completed"),
        "cancelling": "cancelled",
    }
    assert (waiting.paused_at is not None) == (schema >= 4)
    sizes = {name: (len(output), len(errors)) for name, (output, errors) in results.items()}
    assert sizes == {
        "validating": (LINES, 0),
        "in_progress": (LINES - 1, 1),
        "finalizing": (LINES - 2, 2),
        "cancelling": (4, LINES - 4),
        "paused": (LINES, 0),
    }
    old = [line["custom_id"] for line in results["in_progress"][0] if is_old(line)]
    assert old == ["id-0", "id-1", "id-2", "id-3"]
    assert sum(bench.upstream.seen.values()) == 10 + 5 + 8  # validating, in progress, paused


def is_old(line):
    return line["response"]["body"].get("old", False)


async def test_lines_are_numbered_by_when_they_finished_also_those_of_long_ago(tmp_path, past):
    """Segments written before numbers were kept get the numbers that they would have had."""
    path = tmp_path / "old.sqlite3"
    old_database(path, 1, past.rows)
    await open_and_close(path)

    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT id, lines_before, lines FROM segments").fetchall()

    wanted = [row for table, row in past.rows if table == "segments"]
    assert found == [(row["id"], row["lines_before"], row["lines"]) for row in wanted]


@pytest.mark.parametrize("schema", [1, 12])
async def test_what_ended_before_there_was_an_outbox_is_told_to_nobody(tmp_path, past, schema):
    """Else the first start would tell the ends of years; what ends from then on is told."""
    path = tmp_path / "old.sqlite3"
    old_database(path, schema, past.rows)
    async with open_store(path, clock_ms=lambda: 0) as store:
        before = await told_by(store)
        open_ones = [past.batches[name] for name in past.batches if name not in ENDED]
        for row in open_ones:
            batch = await store.get_batch(row["id"])
            assert await store.break_batch(batch, Fault("x", "y"), now=2 * NOW)
        after = await told_by(store)

    assert before == []
    assert [event.batch_id for event in after] == [row["id"] for row in open_ones]
    assert {event.created_at for event in after} == {2 * NOW}


async def test_deliveries_of_an_earlier_version_go_on(tmp_path, past):
    """Endpoints, events and deliveries are as they were left."""
    path = tmp_path / "old.sqlite3"
    old_database(path, 13, past.rows)
    async with open_store(path, clock_ms=lambda: 0) as store:
        (claimed,) = await store.claim_deliveries(now=NOW, limit=9, ttl_s=9)
        kept = await store.get_endpoint("we_a")

    assert (claimed.delivery.event.id, claimed.delivery.attempts) == ("evt_a", 3)
    assert (claimed.delivery.url, claimed.secrets) == (kept.url, [kept.secret])


async def told_by(store):
    """Return the events that nobody was told of yet."""
    known = {told.number for told in await store.list_deliveries(limit=99)}
    standing = [Standing("https://all.example")]
    await store.address_events(standing, calls_back=True, now=NOW, limit=99)
    made = (await store.list_deliveries(limit=99))[::-1]
    return [told.event for told in made if told.number not in known]


@pytest.mark.parametrize("number", SCHEMAS)
async def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path, past, number):
    """At each statement in turn; then it is done whole."""
    path = tmp_path / "old.sqlite3"
    old_database(path, number - 1, past.rows if number > 1 else ())
    before = dump(path)
    text = dict(migrations())[number]
    for turn in range(1, len(statements(text)) + 1):
        arm(f"migrate.statement=error@{turn}")
        with pytest.raises(StoreUnavailable):
            await open_and_close(path)
        assert dump(path) == before
    arm("")
    await open_and_close(path)

    assert dump(path)[0] == NEWEST


@pytest.mark.parametrize("number", SCHEMAS)
async def test_a_migration_cut_by_kill_9_is_done_at_the_next_start(tmp_path, past, number):
    """In the middle of each; nothing of it is left, and the next start begins it anew."""
    path = tmp_path / "old.sqlite3"
    old_database(path, number - 1, past.rows if number > 1 else ())
    before = dump(path)
    middle = (len(statements(dict(migrations())[number])) + 1) // 2

    with opening(path, f"migrate.statement=crash@{middle}") as killed:
        assert await asyncio.to_thread(killed.wait, 60) == -signal.SIGKILL
    assert dump(path) == before
    await open_and_close(path)
    assert dump(path)[0] == NEWEST


@pytest.mark.parametrize("schema", [None, 1, NEWEST - 1])
async def test_two_processes_may_migrate_at_once(tmp_path, past, schema):
    """Both start on an old database, or on none; the one that comes second waits and finds it done."""
    path, alone = tmp_path / "old.sqlite3", tmp_path / "alone.sqlite3"
    if schema is not None:
        old_database(path, schema, past.rows)
        old_database(alone, schema, past.rows)
    with (
        opening(path, "migrate.statement=sleep:0.3@1") as one,
        opening(path, "migrate.statement=sleep:0.3@1") as other,
    ):
        said = [(await asyncio.to_thread(p.communicate, timeout=60))[1] for p in (one, other)]
    await open_and_close(alone)

    assert (one.returncode, other.returncode) == (0, 0), said
    assert schema_of(path) == schema_of(alone)


def schema_of(path):
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
        return db.execute("PRAGMA user_version").fetchone(), found


async def test_a_database_that_is_up_to_date_opens_beside_a_busy_writer(tmp_path):
    """A restart waits for nobody's transaction where there is nothing to migrate."""
    path = tmp_path / "new.sqlite3"
    await open_and_close(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        await asyncio.wait_for(open_and_close(path), 60)


async def test_a_newer_database_is_left_as_it_is(tmp_path):
    """Not a byte of it changes."""
    path = tmp_path / "newer.sqlite3"
    old_database(path, NEWEST)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 9999")
    before = path.read_bytes()

    with pytest.raises(NewerStore, match=r"schema 9999.*Upgrade"):
        await open_and_close(path)

    assert path.read_bytes() == before


@pytest.mark.parametrize("command", ["gateway", "dispatcher", "doctor"])
def test_no_command_of_an_older_version_touches_a_newer_database(tmp_path, command, command_runner):
    """Each says what is wrong and what to do, exits with 1 and leaves the file alone."""
    path = tmp_path / "data" / "batchline.sqlite3"
    path.parent.mkdir()
    old_database(path, NEWEST)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 9999")
    before = path.read_bytes()

    done = command_runner(command)

    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "schema 9999" in said
    assert "upgrade" in said.lower()
    assert "Traceback" not in said
    assert path.read_bytes() == before
