"""The contract, sections 3.5 and 7: the life of a batch as a client sees it that asks all the time."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from itertools import pairwise

import pytest
from aiohttp import web
from inputs import requests
from scripted import HANG, completion, error
from waiting import until

ENDS = {"completed", "failed", "expired", "cancelled"}
STAGES = {"validating": 0, "in_progress": 1, "finalizing": 2, "cancelling": 3}
STAMPS = [
    "created_at",
    "in_progress_at",
    "finalizing_at",
    "cancelling_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelled_at",
]
LINES = 40


def mixed(body, _):
    """Every fourth line fails."""
    failed = int(body["tag"][1:]) % 4 == 0
    return error(400) if failed else web.json_response(completion())


def half(body, attempt):
    """The second half never answers."""
    return HANG if int(body["tag"][1:]) >= LINES // 2 else mixed(body, attempt)


async def live(api, end):
    """Bring a batch to this end; return every answer about it, and the counts it must end with."""
    api.upstream.script = mixed if end == "completed" else half
    content = b"{broken\n" + requests(3) if end == "failed" else requests(LINES)
    batch = await api.create(content)
    async with api.dispatching():

        async def half_done():
            counts = (await api.show(batch))["request_counts"]
            return counts["completed"] + counts["failed"] == LINES // 2

        if end in {"cancelled", "expired"}:
            await until(half_done)
        if end == "expired":
            await execute(api, DEADLINE_NOW)
        if end == "cancelled":
            answer = await api.cancel(batch)
            assert (answer.json["status"], answer.status) == ("cancelling", 200)
        return [batch, *await api.watch(batch)]


COUNTS = {
    "completed": {"total": LINES, "completed": 30, "failed": 10},
    "failed": {"total": 0, "completed": 0, "failed": 0},
    "expired": {"total": LINES, "completed": 15, "failed": 5},
    "cancelled": {"total": LINES, "completed": 15, "failed": 5},
}
EVERY_LIFE = (
    "3.1-statuses",
    "3.1-stamps",
    "3.5-never-back",
    "3.5-stamps-fixed",
    "3.5-counts-grow",
    "3.5-stamps-ordered",
    "3.5-one-end",
)


@pytest.mark.spec(*EVERY_LIFE)
@pytest.mark.parametrize(
    "end",
    [
        pytest.param("completed", marks=pytest.mark.spec("3.5-completed", "3.5-accepted")),
        pytest.param("failed", marks=pytest.mark.spec("3.5-failed")),
        pytest.param("expired", marks=pytest.mark.spec("3.5-expired")),
        pytest.param("cancelled", marks=pytest.mark.spec("3.5-cancelled", "3.5-cancelled-counts")),
    ],
)
async def test_a_life_only_goes_forward(api, end):
    """Status, stamps and counts of all answers, from creation to the end."""
    seen = await live(api, end)

    last = seen[-1]
    assert last["status"] == end
    assert last["request_counts"] == COUNTS[end]
    for before, after in pairwise(seen):
        assert STAGES.get(before["status"], 9) <= STAGES.get(after["status"], 9)
        for name in STAMPS:
            assert before[name] in (None, after[name]), name
        for name, count in before["request_counts"].items():
            assert count <= after["request_counts"][name]
    assert {batch["status"] for batch in seen} <= STAGES.keys() | ENDS
    assert [f"{e}_at" for e in sorted(ENDS) if last[f"{e}_at"] is not None] == [f"{end}_at"]
    stamps = [last[name] for name in STAMPS if last[name] is not None]
    assert stamps == sorted(stamps)
    assert all(type(stamp) is int for stamp in stamps)
    assert (last["in_progress_at"] is None) == (end == "failed")
    assert (last["cancelling_at"] is None) == (end != "cancelled")
    assert (last["output_file_id"] is None) == (end == "failed")
    assert (last["usage"]["total_tokens"] == 0) == (end == "failed")
    assert all(
        (batch["usage"] is None) == (batch["request_counts"]["completed"] == 0)
        for batch in seen
        if batch["status"] in STAGES
    )
    assert await api.show(last) == last


@pytest.mark.spec("3.5-conservation", "3.5-atomic-end", "6-each-once", "7-partial-output")
@pytest.mark.parametrize("end", ["completed", "expired", "cancelled"])
async def test_the_first_terminal_answer_is_whole(api, end):
    """Its files are there, complete, and hold each line once; its counts and usage are final."""
    seen = await live(api, end)

    first = next(batch for batch in seen if batch["status"] in ENDS)
    output, errors = await api.results(first)
    assert (
        len(output) == first["request_counts"]["completed"] == first["usage"]["total_tokens"] / 10
    )
    assert len(output) + len(errors) == first["request_counts"]["total"]
    assert {line["custom_id"] for line in output + errors} == {f"id-{n}" for n in range(LINES)}
    assert await api.show(first) == first


@pytest.mark.spec("3.1-usage-ended", "3.1-usage-fields")
@pytest.mark.parametrize("end", sorted(ENDS))
async def test_usage_of_what_ended_unanswered_is_zeros(api, end):
    """Clients read `batch.usage.total_tokens` of whatever has ended, however it did."""
    api.upstream.script = lambda *_: error(400) if end == "completed" else HANG
    content = b"{broken" if end == "failed" else requests(2)
    batch = await api.create(content, completion_window="2s" if end == "expired" else "24h")
    if end == "cancelled":
        await api.cancel(batch)
    async with api.dispatching():
        ended = await api.ended(batch)

    assert ended["status"] == end
    assert ended["usage"] == {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }


REFUSE = {
    "status": "BEFORE UPDATE ON batches WHEN NEW.completed_at IS NOT NULL",
    "files": "BEFORE INSERT ON files WHEN NEW.purpose = 'batch_output'",
}


DEADLINE_NOW = "UPDATE batches SET expires_at = unixepoch()"


async def execute(api, statement):
    """Change the database from outside, in a thread: who holds its lock may need this loop."""

    def run():
        with closing(sqlite3.connect(api.settings.database_path, timeout=30)) as database, database:
            database.execute(statement)

    await asyncio.to_thread(run)


@pytest.mark.spec("3.5-atomic-end")
@pytest.mark.parametrize("part", REFUSE.values(), ids=REFUSE.keys())
async def test_status_and_files_come_together_or_not_at_all(api, part):
    """While either half cannot be written, neither is seen; later both are."""
    batch = await api.create(requests(3))
    await execute(api, f"CREATE TRIGGER t {part} BEGIN SELECT RAISE(ABORT, 'not now'); END")
    async with api.dispatching():
        await api.shows(batch, "finalizing")
        for _ in range(20):
            held = await api.show(batch)
            results = (await api.call("GET", "/v1/files?purpose=batch_output")).json["data"]
            assert (held["status"], held["output_file_id"], results) == ("finalizing", None, [])
        await execute(api, "DROP TRIGGER t")
        ended = await api.ended(batch)

    assert ended["status"] == "completed"
    assert len((await api.results(ended))[0]) == 3


@pytest.mark.spec("3.5-accepted", "3.5-finalizing")
async def test_running_and_drained_batches_say_since_when(api):
    """in_progress has its total, model and stamp at once; finalizing comes with its own."""
    api.upstream.script = lambda *_: HANG
    batch = await api.create(requests(3))
    async with api.dispatching():
        seen = [batch]

        async def runs():
            seen.append(await api.show(batch))
            return seen[-1]["status"] == "in_progress"

        await until(runs)
        api.upstream.release.set()
        seen += await api.watch(batch)

    running = next(b for b in seen if b["status"] == "in_progress")
    assert running["request_counts"]["total"] == 3
    assert running["model"] == "m"
    assert type(running["in_progress_at"]) is int
    assert running["finalizing_at"] is None
    assert type(seen[-1]["finalizing_at"]) is int


@pytest.mark.spec("3.5-cancelled-validating", "3.4-validating")
async def test_a_batch_cancelled_while_validating_has_nothing(api):
    """Total 0, no files, nothing sent."""
    batch = await api.create(requests(5))
    answer = await api.cancel(batch)
    async with api.dispatching():
        ended = await api.ended(batch)

    assert answer.json["status"] == "cancelling"
    assert type(answer.json["cancelling_at"]) is int
    assert ended["status"] == "cancelled"
    assert ended["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert (ended["output_file_id"], ended["error_file_id"]) == (None, None)
    assert api.upstream.paths == []


@pytest.mark.spec("3.4-prompt", "6-cancelled")
async def test_a_cancel_aborts_what_hangs(api):
    """The model server sees the disconnect; each unrun line says that it was cancelled."""
    api.upstream.script = lambda *_: HANG
    batch = await api.create(requests(30))
    async with api.dispatching(max_in_flight=4):
        await api.upstream.arrived.wait()
        await api.cancel(batch)
        ended = await api.ended(batch)

        async def gone():
            return api.upstream.in_flight == 0

        await until(gone)
        _, errors = await api.results(ended)

    assert len(errors) == 30
    for line in errors:
        assert line["response"] is None
        assert line["error"]["code"] == "batch_cancelled"
        assert "cancelled" in line["error"]["message"]


@pytest.mark.spec("7-stops", "7-unrun-written", "6-expired")
async def test_at_the_deadline_everything_stops(api):
    """What hangs is aborted, nothing more is sent, and every line says that it expired."""
    api.upstream.script = lambda *_: HANG
    batch = await api.create(requests(30), completion_window="2h")
    assert batch["expires_at"] == batch["created_at"] + 7200
    async with api.dispatching(max_in_flight=4):
        await api.upstream.arrived.wait()
        await execute(api, DEADLINE_NOW)
        ended = await api.ended(batch)

        async def gone():
            return api.upstream.in_flight == 0

        await until(gone)
        raw = await api.raw(ended["error_file_id"])

    assert ended["status"] == "expired"
    assert ended["expired_at"] >= ended["expires_at"]
    assert len(api.upstream.paths) <= 4
    lines = [json.loads(line) for line in raw.splitlines()]
    assert [line["custom_id"] for line in lines] == [f"id-{n}" for n in range(30)]
    for line in lines:
        assert line["response"] is None
        assert line["error"] == {
            "code": "batch_expired",
            "message": "This request could not be executed before the completion window expired.",
        }
