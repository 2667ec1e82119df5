"""Pause and resume: nothing more is sent, nothing sent is lost, nothing is sent twice."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from scripted import HANG, completion, error, taking
from waiting import until

from batchline.states import BatchStatus


async def pause(house, batch):
    return await house.call("POST", f"/batches/{batch.id}/pause")


async def resume(house, batch):
    return await house.call("POST", f"/batches/{batch.id}/resume")


async def leased(house, batch):
    """Count the slices of the batch that somebody holds."""
    async with house.store._database.read() as tx:
        row = await tx.row(
            "SELECT count(*) AS n FROM slices WHERE batch_seq = ? AND state = 'leased'",
            (batch.seq,),
        )
    return row["n"]


async def leases(house, batch, condition):
    return condition(await leased(house, batch))


@pytest.mark.spec("beyond-pause", "beyond-resume")
async def test_a_paused_batch_settles_what_flies_and_goes_on_after_resume(house, upstream):
    """In-flight lines end and count; the rest is given back and waits; each line is sent once."""
    go = asyncio.Event()

    async def script(body, attempt):
        if int(body["tag"][1:]) >= 40:
            await go.wait()
        return web.json_response(completion())

    upstream.script = script
    batch = await house.submit(300)
    async with house.running(), asyncio.timeout(60):
        await house.finished(batch, 40)
        await until(lambda: upstream.in_flight == 16)
        await until(lambda: leases(house, batch, lambda held: held >= 2))
        held = await leased(house, batch)
        paused = (await pause(house, batch)).json
        # slices of which nothing flies go back at once
        await until(lambda: leases(house, batch, lambda now: now != held))
        sent = sum(upstream.seen.values())
        go.set()
        await until(lambda: leases(house, batch, lambda held: not held))
        halted = await house.show(batch)

        assert sum(upstream.seen.values()) == sent
        resumed = (await resume(house, batch)).json
        ended = await house.ended(batch)

    assert paused["status"] == halted["status"] == "in_progress"
    assert paused["paused_at"] == halted["paused_at"] is not None
    assert halted["request_counts"]["completed"] == sent == 56
    assert resumed["paused_at"] is None
    assert ended.counts.completed == 300
    assert set(upstream.seen.values()) == {1}


async def test_a_line_waiting_for_its_retry_does_not_hold_a_paused_slice(house, upstream):
    """A retry is put off too, and its line is sent again after the resume."""
    upstream.script = lambda body, attempt: (
        error(503, **{"Retry-After": "600"}) if attempt == 1 else web.json_response(completion())
    )
    batch = await house.submit(5)
    async with house.running():
        await until(lambda: sum(upstream.seen.values()) == 5)
        await pause(house, batch)
        await until(lambda: leases(house, batch, lambda held: not held))
        await resume(house, batch)
        ended = await house.ended(batch)

    assert ended.counts.completed == 5


async def test_other_batches_take_the_room_of_a_paused_one(house, upstream):
    """A paused batch takes no place among those that may run at once."""
    upstream.script = taking(0.01)
    first = await house.submit(50)
    await pause(house, first)
    second = await house.submit(50)
    async with house.running(max_concurrent_batches=1):
        assert (await house.ended(second)).counts.completed == 50

    assert (await house.show(first))["request_counts"] == {"total": 50, "completed": 0, "failed": 0}


async def test_a_pause_survives_a_restart_and_begins_before_validation_ends(house, upstream):
    """Paused while validating: it is validated, and waits, whatever starts anew."""
    batch = await house.submit(5)
    await pause(house, batch)
    for _ in range(2):
        async with house.running():
            await house.reached(batch, lambda b: b.status is BatchStatus.IN_PROGRESS)
            other = await house.submit(3)
            await house.ended(other)  # whoever claims at all would have claimed by now

    shown = await house.show(batch)
    assert (shown["status"], shown["request_counts"]["completed"]) == ("in_progress", 0)
    assert shown["paused_at"] is not None


@pytest.mark.spec("beyond-pause-cancel")
async def test_a_paused_batch_can_be_cancelled(house, upstream):
    """Cancel ends it as ever, and nothing says paused any more."""
    upstream.script = lambda body, attempt: HANG
    batch = await house.submit(5)
    async with house.running():
        await upstream.arrived.wait()
        await pause(house, batch)
        await house.call("POST", f"/batches/{batch.id}/cancel")
        ended = await house.ended(batch)

    assert ended.status is BatchStatus.CANCELLED
    assert (await house.show(batch))["paused_at"] is None


@pytest.mark.spec("beyond-pause-cancel")
async def test_a_paused_batch_still_expires(house, upstream):
    """The deadline keeps running while a batch is paused."""
    batch = await house.submit(5, expires_in_s=2)
    await pause(house, batch)
    async with house.running():
        ended = await house.ended(batch)

    assert ended.status is BatchStatus.EXPIRED


@pytest.mark.spec("beyond-pause", "beyond-resume")
async def test_pausing_and_resuming_are_idempotent(house):
    """A second pause keeps the time of the first; resuming what runs changes nothing."""
    batch = await house.submit(5)
    first = await pause(house, batch)
    again = await pause(house, batch)
    resumed = [await resume(house, batch) for _ in range(2)]

    assert first.status == again.status == 200
    assert first.json == again.json
    assert [(r.status, r.json["paused_at"]) for r in resumed] == [(200, None)] * 2


@pytest.mark.spec("beyond-pause-ended")
@pytest.mark.parametrize("verb", ["pause", "resume"])
async def test_what_has_ended_or_never_was_is_refused(house, verb):
    """An ended batch: 409, final; an unknown one: 404."""
    batch = await house.submit(2)
    async with house.running():
        await house.ended(batch)
    ended = await house.call("POST", f"/batches/{batch.id}/{verb}")
    unknown = await house.call("POST", f"/batches/batch_x/{verb}")

    assert (ended.status, unknown.status) == (409, 404)
    assert ended.headers["x-should-retry"] == "false"
    assert f"Cannot {verb} a batch with status 'completed'" in ended.json["error"]["message"]
    assert unknown.json["error"]["message"] == "No batch found with id 'batch_x'."
