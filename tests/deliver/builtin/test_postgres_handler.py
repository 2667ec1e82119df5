"""The handler for PostgreSQL, against a real server."""

from __future__ import annotations

import json

from attempting import attempted, replayed
from ended_batches import chat_answer, chat_request
from handler_bench import survey_of

from batchline.webhooks.records import DeliveryState
from deliver.builtin.postgres import _statements

PENDING, DELIVERED, GIVEN_UP = DeliveryState
LINES = 350

DYING = """
    import os, select, signal
    from deliver.builtin.postgres import Postgres

    @register_handler
    class Dying(Postgres):
        name = "dying"
        most_rows = 100

        async def handle(self, batch, results, context):
            keep, server = context.checkpoint, %d

            async def checkpoint(state=None):
                at = None if os.path.exists(%r) else (context.attempt, results.taken)
                if at in [(1, 100), (2, 200)]:  # written, and nobody knows it
                    os.kill(os.getpid(), signal.SIGKILL)
                if at == (3, 200):
                    os.kill(server, signal.SIGQUIT)
                    # the rest would be written while it ends
                    select.select([os.pidfd_open(server)], [], [])
                await keep(state)

            context.checkpoint = checkpoint
            await super().handle(batch, results, context)
"""


async def test_each_result_becomes_a_row_once_whatever_dies(make_handlers, cluster, tmp_path):
    """The handler's process twice, before it could tell what it wrote; the server once, for a while."""
    well = tmp_path / "well"
    code = DYING % (cluster.pid, str(well))
    bench = await make_handlers(code, sections={"dying": {"url": cluster.url}})
    batch = await bench.completed(LINES, failed=[7, 107], refused=[8])

    ends = [await attempted(bench) for _ in range(3)]
    cluster.wait_for_end()
    ends.append(await attempted(bench))
    cluster.start()
    ends.append(await attempted(bench))

    killed = "The handler failed: it was ended by signal 9"
    assert ends[:2] == [(PENDING, killed, 0), (PENDING, killed, 100)]
    for state, error, done in ends[2:4]:
        assert (state, done) == (PENDING, 200)
        assert f"ConnectionError: 127.0.0.1:{cluster.port}/postgres: " in error
    assert ends[4] == (DELIVERED, None, LINES)
    await check_rows(cluster, batch)

    well.touch()
    before = await cluster.rows("SELECT * FROM batch_results ORDER BY line")

    assert await replayed(bench) == (DELIVERED, None, LINES)
    assert await cluster.rows("SELECT * FROM batch_results ORDER BY line") == before


async def check_rows(cluster, batch):
    rows = await cluster.rows("SELECT * FROM batch_results ORDER BY line")
    received = {row.pop("received_at") for row in rows}
    answers = {row["line"]: row.pop("response") for row in rows}

    assert {row.pop("batch_id") for row in rows} == {batch.id}
    assert None not in received
    nothing = dict.fromkeys(rows[0])
    for line, row in enumerate(rows):
        told = {"custom_id": f"c{line}", "line": line}
        if line in {7, 107}:
            told |= {"error_code": "server_error", "error_message": "it died"}
            assert answers[line] is None
        elif line == 8:
            told |= {"status_code": 400, "error_code": "400", "error_message": "too long"}
            assert json.loads(answers[line])["error"]["type"] == "BadRequestError"
        else:
            told |= {"status_code": 200, "text": f"answer {line}", "model": "m"}
            told |= {"finish_reason": "stop", "input_tokens": 3, "output_tokens": 2}
            assert json.loads(answers[line]) == chat_answer(line)
        assert row == nothing | told
    assert len(rows) == LINES


async def test_what_a_table_takes_and_what_becomes_of_what_it_does_not(make_handlers, cluster):
    """Characters that PostgreSQL does not keep are replaced; a table that does not fit is given up."""
    await cluster.run(_statements()["create_table"].format(table="whole"))
    await cluster.run("""
        CREATE SCHEMA "My ""own";
        CREATE TABLE no_key (LIKE whole);
        CREATE TABLE narrow (LIKE whole INCLUDING INDEXES);
        ALTER TABLE narrow DROP COLUMN finish_reason;
        CREATE TABLE numbers (LIKE whole INCLUDING INDEXES);
        ALTER TABLE numbers ALTER COLUMN text TYPE integer USING NULL;
    """)
    url, name = cluster.url, 'My "own.Answers; DROP TABLE "x"'
    wrong = {
        "no-key": {"table": "no_key"},
        "narrow": {"table": "narrow"},
        "numbers": {"table": "numbers"},
        "absent": {"table": "absent", "create_table": "false"},
        "refused": {"url": url.replace("of-the-tests", "wrong")},
    }
    sections = {one: {"handler": "postgres", "url": url} | fields for one, fields in wrong.items()}
    sections["postgres"] = {"url": url, "table": name, "requests": True}
    bench = await make_handlers(sections=sections)
    await bench.completed(2, body_of=odd_answer)

    await bench.round()

    found = {d.handler: (d.state, d.last_error) for d in await bench.deliveries()}
    where = f"127.0.0.1:{cluster.port}/postgres"
    assert found.pop("postgres") == (DELIVERED, None)
    for (one, (state, error)), (expected, words) in zip(
        sorted(found.items()),
        [
            (PENDING, f"LookupError: {where} has no table 'absent': create it"),
            (GIVEN_UP, f"Table 'narrow' of {where} does not fit: column \"finish_reason\""),
            (GIVEN_UP, f"Table 'no_key' of {where} needs a primary key, or a unique index, of"),
            (GIVEN_UP, f"Table 'numbers' of {where} does not take the results: "),
            (PENDING, f'ConnectionError: {where}: password authentication failed for user "post'),
        ],
        strict=True,
    ):
        assert (one, state, error) == (one, expected, error)
        assert words in error
        assert "of-the-tests" not in error

    rows = await cluster.rows('SELECT * FROM "My ""own"."Answers; DROP TABLE ""x""" ORDER BY line')
    for line, row in enumerate(rows):
        whole = chat_answer(line) | {"model": "a\ufffd😀\ufffd\\u0000", "large": "x" * 1_000_000}
        assert row["model"] == whole["model"]
        assert json.loads(row["response"]) == whole
        assert json.loads(row["request"]) == chat_request(line)["body"]
    assert len(rows) == 2


def odd_answer(index):
    return chat_answer(index) | {"model": "a\0😀\ud800\\u0000", "large": "x" * 1_000_000}


async def test_wrong_settings_are_faults(tmp_path):
    """Each is named, and no password is told."""
    url = "postgresql://u:hidden@localhost/results"
    wrong = {
        "no-url": ({}, "Object missing required field `url`"),
        "other": ({"url": "mysql://u:hidden@h/d"}, "'url' must be the URL of a database, such as"),
        "port": ({"url": "postgresql://u:hid/den@h/d"}, "in a password, write / as %2F"),
        "unknown": ({"url": url, "tabel": "x"}, "Object contains unknown field `tabel`"),
        "parts": ({"url": url, "table": "a.b.c"}, "schema.table, with 63 bytes each at most"),
        "long": ({"url": url, "table": "x" * 64}, "with 63 bytes each at most"),
        "empty": ({"url": url, "table": ""}, "'table' must be the name of a table"),
        "kind": (
            {"url": url, "requests": "perhaps"},
            "Expected `bool`, got `str` - at `$.requests`",
        ),
    }
    sections = {name: {"handler": "postgres", **given} for name, (given, _) in wrong.items()}

    found = await survey_of(tmp_path, sections=sections)

    assert (found.installed, len(found.faults)) == ([], len(wrong))
    for fault, (name, (_, words)) in zip(found.faults, sorted(wrong.items()), strict=True):
        assert fault.startswith(f"{name}: ")
        assert words in fault
        assert "hid" not in fault
