"""A dispatcher's own leases: no clock takes them away, and none is forgotten."""

from __future__ import annotations

import asyncio
from functools import partial

from aiohttp import web
from bench import opened
from clocks import MovedDay
from scripted import HANG, completion

from batchline.errors import StoreUnavailable
from batchline.states import BatchStatus
from dispatcher.upkeep.housekeeping import Rests


async def test_a_clock_that_jumps_ahead_has_no_line_sent_twice(bench, upstream):
    """Every lease looks lapsed: its holder knows better, and the answers count."""
    day = MovedDay()
    bench.opened = partial(opened, clock=day)
    upstream.script = lambda body, attempt: HANG  # until it is released
    batch = await bench.submit(200)

    async with bench.running():
        await upstream.arrived.wait()
        day.advance(3600)
        upstream.release.set()
        ended = await bench.ended(batch)

    assert (ended.status, ended.counts.completed) == (BatchStatus.COMPLETED, 200)
    assert set(upstream.seen.values()) == {1}


async def test_a_clock_that_jumps_past_the_deadline_and_back_leaves_nothing_behind(
    bench, upstream, clock
):
    """For a moment the batch seemed over and was dropped: its slices are claimed again."""
    bench.rests, bench.clock = Rests(deadlines_s=3600), clock
    upstream.script = lambda body, attempt: (
        HANG if attempt == 1 else web.json_response(completion())
    )
    batch = await bench.submit(3)

    async with bench.running():
        await upstream.arrived.wait()
        clock.advance(2 * 86_400)
        await upstream.left.wait()
        clock.advance(-2 * 86_400)
        ended = await bench.ended(batch)

    assert (ended.status, ended.counts.completed) == (BatchStatus.COMPLETED, 3)


async def test_what_is_dropped_while_a_claim_is_under_way_is_not_forgotten(bench, upstream, clock):
    """The claim of another batch ends well after it: that says nothing of what was dropped."""
    bench.rests, bench.clock = Rests(deadlines_s=3600), clock
    upstream.script = lambda body, attempt: (
        HANG if attempt == 1 else web.json_response(completion())
    )
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def claim_slowly(store, picked, **wanted):
        found = await store.claim_each(picked, **wanted)
        if batch.id not in {claimed.id for claimed, _ in picked}:
            under_way.set()
            await go_on.wait()
        return found

    bench.instead("store", claim_each=claim_slowly)
    batch = await bench.submit(3)

    async with bench.running():
        await upstream.arrived.wait()
        await bench.submit(3, expires_in_s=10 * 86_400)
        await under_way.wait()
        clock.advance(2 * 86_400)
        await upstream.left.wait()
        clock.advance(-2 * 86_400)
        go_on.set()
        ended = await bench.ended(batch)

    assert (ended.status, ended.counts.completed) == (BatchStatus.COMPLETED, 3)


async def test_leases_that_could_not_be_renewed_are_claimed_again(bench, upstream):
    """The database refuses for as long as a lease lasts: its lines are given up, then sent again."""
    refusals = 0

    async def refuse(store, leases, *, ttl_s):
        nonlocal refusals
        if refusals < 4:
            refusals += 1
            raise StoreUnavailable("The database is busy.")
        return await store.renew(leases, ttl_s=ttl_s)

    bench.instead("store", renew=refuse)
    upstream.script = lambda body, attempt: (
        HANG if attempt == 1 else web.json_response(completion())
    )
    batch = await bench.submit(3)

    async with bench.running(lease_s=1.5):
        ended = await bench.ended(batch)

    assert (ended.status, ended.counts.completed) == (BatchStatus.COMPLETED, 3)
    assert set(upstream.seen.values()) == {2}
