"""At its deadline a batch ends with all that was done, wherever its lines are. The clock is moved."""

from __future__ import annotations

import pytest
from aiohttp import web
from scripted import HANG, completion, error
from waiting import until

from batchline.states import BatchStatus
from dispatcher.upkeep.housekeeping import Rests

WINDOW_S = 3600


@pytest.fixture(autouse=True)
def prompt(bench, clock):
    """Look at deadlines often, by the clock that the test moves."""
    bench.rests, bench.clock = Rests(deadlines_s=0.02, disk_s=0.02), clock


def answer_only(count):
    """Answer the first lines, let every other one hang."""
    return lambda body, attempt: (
        HANG if int(body["tag"][1:]) >= count else web.json_response(completion())
    )


async def done(bench, batch, count):
    async def is_done():
        return (await bench.store.get_batch(batch.id)).counts.completed >= count

    await until(is_done)


async def check_expired(bench, batch, *, completed):
    """The batch ended expired: what was done in the output file, each other line as batch_expired."""
    ended = await bench.ended(batch)
    output, errors = await bench.results(ended)
    total = ended.counts.total

    assert ended.status is BatchStatus.EXPIRED
    assert ended.expired_at is not None
    assert [r["custom_id"] for r in output] == [f"id-{i}" for i in range(completed)]
    assert [e["custom_id"] for e in errors] == [f"id-{i}" for i in range(completed, total)]
    assert {e["error"]["code"] for e in errors} == {"batch_expired"}
    assert {e["response"] for e in errors} == {None}
    assert (ended.counts.completed, ended.counts.failed) == (completed, 0)


@pytest.mark.spec(
    "7-stops", "7-partial-output", "7-unrun-written", "3.5-expired", "3.5-conservation"
)
async def test_lines_done_in_flight_in_back_off_and_pending_end_exactly_once(
    bench, upstream, clock
):
    """Four places a line can be in; requests in flight are aborted at once."""

    def script(body, attempt):
        index = int(body["tag"][1:])
        if index < 5:
            return web.json_response(completion())
        return error(409, **{"Retry-After": "600"}) if index < 10 else HANG

    upstream.script = script
    batch = await bench.submit(100, expires_in_s=WINDOW_S)
    async with bench.running(max_in_flight=16):
        await done(bench, batch, 5)

        async def is_full():
            return upstream.in_flight == 16 and len(upstream.seen) == 26

        await until(is_full)
        clock.advance(WINDOW_S)
        await check_expired(bench, batch, completed=5)

        async def is_aborted():
            return upstream.in_flight == 0

        await until(is_aborted)

    assert upstream.disconnects == 16
    assert set(upstream.seen.values()) == {1}


@pytest.mark.spec("7-stops")
async def test_nothing_is_sent_after_the_deadline_even_before_anyone_ended_the_batch(
    bench, upstream, clock
):
    """The pump drops the batch by its own look at the clock."""
    bench.rests = Rests(deadlines_s=3600)
    upstream.script = answer_only(5)
    batch = await bench.submit(100, expires_in_s=WINDOW_S)
    async with bench.running():
        await done(bench, batch, 5)
        await until(lambda: upstream.in_flight == 16)
        clock.advance(WINDOW_S)

        async def is_aborted():
            return upstream.in_flight == 0

        await until(is_aborted)
        status = (await bench.store.get_batch(batch.id)).status

    assert status is BatchStatus.IN_PROGRESS
    assert len(upstream.seen) == 5 + 16


async def test_a_batch_that_waited_for_validation_past_its_deadline_expires_unsent(
    bench, upstream, clock
):
    """It is still validated, so that every line can be named in the error file."""
    batch = await bench.submit(20, expires_in_s=WINDOW_S)
    clock.advance(WINDOW_S + 1)

    async with bench.running():
        await check_expired(bench, batch, completed=0)

    assert not upstream.seen


async def test_a_batch_expires_while_its_validation_waits_for_room(bench, upstream, clock):
    """The disk is full for longer than the window: no line is lost, none is sent."""
    free = [0]
    bench.instead("blobs", free_bytes=lambda _: free[0])
    async with bench.running(min_free_bytes=10_000_000):

        async def is_paused():
            report = await bench.store.fleet_report()
            return report is not None and "disk space" in (report.paused or "")

        await until(is_paused)
        batch = await bench.submit(20, expires_in_s=WINDOW_S)
        clock.advance(WINDOW_S)
        free[0] = 20_000_000
        await check_expired(bench, batch, completed=0)

    assert not upstream.seen


@pytest.mark.spec("beyond-pause-cancel")
async def test_a_paused_batch_expires_all_the_same(bench, upstream, clock):
    """Pausing does not stop its clock."""
    upstream.script = answer_only(5)
    batch = await bench.submit(20, expires_in_s=WINDOW_S)
    async with bench.running():
        await done(bench, batch, 5)
        assert (await bench.store.pause_batch(batch.id, now=int(clock()))).paused_at
        clock.advance(WINDOW_S)
        await check_expired(bench, batch, completed=5)


async def test_a_batch_expires_while_no_backend_answers(bench, upstream, clock):
    """Nobody to send to is no reason to outlive the window."""
    upstream.script = answer_only(5)
    batch = await bench.submit(40, expires_in_s=WINDOW_S)
    async with bench.running():
        await done(bench, batch, 5)
        upstream.health = 503

        async def is_paused():
            return (await bench.store.fleet_report()).paused is not None

        await until(is_paused)
        clock.advance(WINDOW_S)
        await check_expired(bench, batch, completed=5)


@pytest.mark.spec("7-partial-output", "7-unrun-written")
async def test_a_deadline_that_passed_while_no_dispatcher_ran_is_kept_at_its_start(
    bench, upstream, clock
):
    """Nothing more is sent, what was done before is in the output."""
    upstream.script = answer_only(5)
    batch = await bench.submit(40, expires_in_s=WINDOW_S)
    async with bench.running():
        await done(bench, batch, 5)
    sent = dict(upstream.seen)
    clock.advance(WINDOW_S + 1)
    upstream.script = answer_only(40)

    async with bench.running():
        await check_expired(bench, batch, completed=5)

    assert upstream.seen == sent
