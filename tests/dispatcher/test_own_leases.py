"""A dispatcher's own leases: no clock takes them away, and none is forgotten."""

from __future__ import annotations

import asyncio
import time

from aiohttp import web
from scripted import HANG, completion

from batchline.errors import StoreUnavailable
from batchline.states import BatchStatus
from batchline.store import open_store
from batchline.store.sqlite.leases import SqliteLeases


async def test_a_clock_that_jumps_ahead_has_no_line_sent_twice(bench, upstream, monkeypatch):
    """Every lease looks lapsed: its holder knows better, and the answers count."""
    ahead_s = 0
    monkeypatch.setattr(
        "bench.opened",
        lambda folder: open_store(
            folder / "batchline.sqlite3", clock_ms=lambda: int((time.time() + ahead_s) * 1000)
        ),
    )
    upstream.script = lambda body, attempt: HANG  # until it is released
    batch = await bench.submit(200)

    async with bench.running():
        await upstream.arrived.wait()
        ahead_s = 3600
        upstream.release.set()
        ended = await bench.ended(batch)

    assert (ended.status, ended.counts.completed) == (BatchStatus.COMPLETED, 200)
    assert set(upstream.seen.values()) == {1}


async def test_a_clock_that_jumps_past_the_deadline_and_back_leaves_nothing_behind(
    bench, upstream, monkeypatch
):
    """For a moment the batch seemed over and was dropped: its slices are claimed again."""
    monkeypatch.setattr("dispatcher.upkeep.sweep._LAPSE_EVERY_S", 3600)
    ahead_s = 0
    bench.clock = lambda: time.time() + ahead_s
    upstream.script = lambda body, attempt: (
        HANG if attempt == 1 else web.json_response(completion())
    )
    batch = await bench.submit(3)

    async with bench.running():
        await upstream.arrived.wait()
        ahead_s = 2 * 86_400
        await upstream.left.wait()
        ahead_s = 0
        ended = await bench.ended(batch)

    assert (ended.status, ended.counts.completed) == (BatchStatus.COMPLETED, 3)


async def test_what_is_dropped_while_a_claim_is_under_way_is_not_forgotten(
    bench, upstream, monkeypatch
):
    """The claim of another batch ends well after it: that says nothing of what was dropped."""
    monkeypatch.setattr("dispatcher.upkeep.sweep._LAPSE_EVERY_S", 3600)
    ahead_s = 0
    bench.clock = lambda: time.time() + ahead_s
    upstream.script = lambda body, attempt: (
        HANG if attempt == 1 else web.json_response(completion())
    )
    claim, under_way, go_on = SqliteLeases.claim_each, asyncio.Event(), asyncio.Event()

    async def claim_slowly(self, picked, **wanted):
        found = await claim(self, picked, **wanted)
        if batch.id not in {claimed.id for claimed, _ in picked}:
            under_way.set()
            await go_on.wait()
        return found

    monkeypatch.setattr(SqliteLeases, "claim_each", claim_slowly)
    batch = await bench.submit(3)

    async with bench.running():
        await upstream.arrived.wait()
        await bench.submit(3, expires_in_s=10 * 86_400)
        await under_way.wait()
        ahead_s = 2 * 86_400
        await upstream.left.wait()
        ahead_s = 0
        go_on.set()
        ended = await bench.ended(batch)

    assert (ended.status, ended.counts.completed) == (BatchStatus.COMPLETED, 3)


async def test_leases_that_could_not_be_renewed_are_claimed_again(bench, upstream, monkeypatch):
    """The database refuses for as long as a lease lasts: its lines are given up, then sent again."""
    renew = SqliteLeases.renew
    refusals = 0

    async def refuse(self, leases, *, ttl_s):
        nonlocal refusals
        if refusals < 4:
            refusals += 1
            raise StoreUnavailable("The database is busy.")
        return await renew(self, leases, ttl_s=ttl_s)

    monkeypatch.setattr(SqliteLeases, "renew", refuse)
    upstream.script = lambda body, attempt: (
        HANG if attempt == 1 else web.json_response(completion())
    )
    batch = await bench.submit(3)

    async with bench.running(lease_s=1.5):
        ended = await bench.ended(batch)

    assert (ended.status, ended.counts.completed) == (BatchStatus.COMPLETED, 3)
    assert set(upstream.seen.values()) == {2}
