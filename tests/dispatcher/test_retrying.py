"""A running dispatcher: retries within their budget and within the batch's time."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from itertools import count

import pytest
from aiohttp import web
from bench import request_line
from scripted import HANG, RESET, completion, error
from waiting import pass_time, until

from batchline.errors import StoreUnavailable
from batchline.states import BatchStatus
from dispatcher.attempts.budget import CAPACITY, EARNED_PER_FIRST_TRY, EARNED_PER_S
from dispatcher.replies.upstream import Break, Broken, Upstream


def good():
    return web.json_response(completion())


def is_odd(body):
    return int(body["tag"][1:]) % 2 == 1


@pytest.mark.parametrize(("claim_s", "refuses"), [(0, ()), (0.1, ()), (0, (12, 16))])
async def test_retries_do_not_crowd_out_first_tries(bench, upstream, claim_s, refuses):
    """Half of the lines fail again and again: until all were tried once, few retries are sent.

    Also where the disk is so slow, or refuses, that places are idle while lines are claimed.
    """
    calls = count(1)

    async def claim_hardly(store, picked, **wanted):
        await pass_time(claim_s)
        if next(calls) in refuses:
            raise StoreUnavailable("The database is busy.")
        return await store.claim_each(picked, **wanted)

    bench.instead("store", claim_each=claim_hardly)
    sent = Counter()
    began = time.monotonic()

    def script(body, attempt):
        sent["first" if attempt == 1 else "again"] += 1
        if sent["first"] == 2000:
            sent.setdefault("again by then", sent["again"])
            sent.setdefault("allowed", CAPACITY + 2000 * EARNED_PER_FIRST_TRY)
            sent["allowed"] += 0 if attempt > 1 else (time.monotonic() - began) * EARNED_PER_S
        return error(500) if is_odd(body) else good()

    upstream.script = script
    batch = await bench.submit(2000)
    async with bench.running(max_attempts=4):
        ended = await bench.ended(batch)

    # A circuit may open by chance, and retries take places that are idle meanwhile; unbounded they were 3,000.
    assert sent["again by then"] <= 1.25 * sent["allowed"]
    assert (ended.counts.completed, ended.counts.failed) == (1000, 1000)
    assert min(set(upstream.seen.values()) - {1}) == 4
    assert bench.metrics.retries_held_back._value.get() > 0


async def test_with_no_new_work_retries_take_the_idle_places(bench, upstream):
    """A bad batch ends soon: at ten retries a second this one would take two minutes."""
    upstream.script = lambda body, attempt: error(500)
    batch = await bench.submit(400)
    async with bench.running(max_attempts=4):
        ended = await bench.ended(batch, within_s=60)

    assert ended.counts.failed == 400
    assert min(upstream.seen.values()) == 4


async def test_a_wait_beyond_the_deadline_becomes_a_last_try_before_it(bench, upstream):
    """Retry-After 600 with few seconds left: the line is tried once more."""
    upstream.script = lambda body, attempt: (
        error(429, **{"Retry-After": "600"}) if attempt == 1 else good()
    )
    batch = await bench.submit(1, expires_in_s=8)
    async with bench.running():
        ended = await bench.ended(batch)

    assert (ended.status, ended.counts.completed) == (BatchStatus.COMPLETED, 1)


@pytest.mark.parametrize("fault", [HANG, 429, 500])
async def test_what_the_deadline_cuts_off_is_expired_not_failed(bench, upstream, fault):
    """Its last try was no failure of the line: there was no time for it."""
    upstream.script = lambda body, attempt: (
        fault if fault == HANG else error(fault, **{"Retry-After": "600"})
    )
    batch = await bench.submit(3, expires_in_s=2)
    async with bench.running(max_attempts=3):
        ended = await bench.ended(batch)

    _, errors = await bench.results(ended)
    assert ended.status is BatchStatus.EXPIRED
    assert {e["error"]["code"] for e in errors} == {"batch_expired"}
    assert set(upstream.seen.values()) <= {1, 2}


async def test_what_a_deadline_cuts_off_says_nothing_of_the_server(bench, upstream):
    """However many requests end in that moment: it goes on with the next batch, unasked."""
    upstream.script = lambda body, attempt: HANG if body["tag"][0] == "h" else good()
    slow = "\n".join(request_line(i, tag=f"h{i}") for i in range(8))
    batch = await bench.submit(slow, expires_in_s=2)
    async with bench.running():
        expired = await bench.ended(batch)
        answered = await bench.ended(await bench.submit(3))

    assert (expired.status, answered.counts.completed) == (BatchStatus.EXPIRED, 3)
    assert not upstream.canaries


async def test_a_try_takes_no_longer_than_there_is_time(upstream):
    """Whatever the request timeout."""
    upstream.script = lambda body, attempt: HANG
    async with Upstream(upstream.url, api_key=None, timeout_s=3600) as sender:
        broken = await sender.send("/v1/x", b'{"tag": "t"}', request_id="r", within_s=0.05)

    assert broken.how is Break.OUT_OF_TIME


async def test_no_backend_is_no_attempt_however_many_lines_it_meets(bench, upstream):
    """500 lines refused in one moment: all wait, each is sent once, few at first."""
    sends = []

    async def script(body, attempt):
        sends.append(upstream.in_flight)
        return good()

    upstream.script = script
    await upstream.vanish()
    batch = await bench.submit(500)
    async with bench.running(max_attempts=1, max_in_flight=500):

        async def paused():
            report = await bench.store.fleet_report()
            return report is not None and report.paused is not None

        await until(paused)
        await upstream.listen()
        ended = await bench.ended(batch)

    assert ended.counts.completed == 500
    assert set(upstream.seen.values()) == {1}
    assert sends[0] == 1


async def test_a_connection_that_was_stale_costs_no_attempt(bench, upstream):
    """A reset at once, before any byte: sent again although there is only one attempt."""

    async def send_at_once(real, path, body, **given):
        got = await real.send(path, body, **given)
        return replace(got, seconds=0.0) if isinstance(got, Broken) else got

    bench.instead("upstream", send=send_at_once)
    upstream.script = lambda body, attempt: RESET if attempt == 1 else good()
    batch = await bench.submit(3)
    async with bench.running(max_attempts=1, max_in_flight=1):  # alone each is reset at once
        ended = await bench.ended(batch)

    assert ended.counts.completed == 3
    assert set(upstream.seen.values()) == {2}


async def test_many_lines_that_wait_are_not_all_held_in_memory(bench, upstream):
    """Of a large batch that is told to come back later only so many lines are claimed."""
    upstream.script = lambda body, attempt: error(429, **{"Retry-After": "500"})
    batch = await bench.submit(6000)
    async with bench.running() as worker:
        seen, looks = 0, 0

        def has_settled_down():
            nonlocal seen, looks
            if (now := sum(upstream.seen.values())) != seen:
                seen, looks = now, upstream.health_asked
            return seen and upstream.health_asked > looks + 6

        await until(has_settled_down)
        held = sum(item.left for item in worker._pump._held.values())
        await bench.store.cancel_batch(batch.id, now=1)
        await bench.ended(batch)

    assert held < 4096 + 16 * 64
