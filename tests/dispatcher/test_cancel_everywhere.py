"""A cancel ends a batch at once, whatever it waits for: nothing hangs on a server, a timer or a pause."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from aiohttp import web
from scripted import HANG, completion, error
from waiting import until

from batchline.states import BatchStatus

LINES = 150


def cancelled_lines(errors):
    return [line["custom_id"] for line in errors if line["error"]["code"] == "batch_cancelled"]


async def cancel(bench, made):
    return await bench.store.cancel_batch(made.id, now=int(time.time()))


async def test_lines_in_flight_are_aborted_and_what_is_done_is_kept(bench, upstream):
    """The upstream sees every request of it end; results and unrun lines are all of the input."""
    upstream.script = lambda body, _: (
        web.json_response(completion()) if int(body["tag"][1:]) < 20 else HANG
    )
    made = await bench.submit(LINES)

    async with bench.running(max_in_flight=100):
        await until(lambda: upstream.in_flight == 100)
        await until(lambda: bench.has_finished(made, 20))
        await cancel(bench, made)
        ended = await bench.ended(made)
        await until(lambda: upstream.disconnects == 100)
        output, errors = await bench.results(ended)

    assert ended.status is BatchStatus.CANCELLED
    assert [line["custom_id"] for line in output] == [f"id-{n}" for n in range(20)]
    assert cancelled_lines(errors) == [f"id-{n}" for n in range(20, LINES)]
    assert max(upstream.seen.values()) == 1


async def test_lines_in_a_long_back_off_do_not_hold_it(bench, upstream):
    """A server that asked for ten minutes is not waited for."""
    upstream.script = lambda body, _: error(429, **{"Retry-After": "600"})
    made = await bench.submit(LINES)

    async with bench.running():
        await until(lambda: len(upstream.seen) >= 16)
        await cancel(bench, made)
        ended = await bench.ended(made)
        output, errors = await bench.results(ended)

    assert ended.status is BatchStatus.CANCELLED
    assert (output, len(cancelled_lines(errors))) == ([], LINES)


async def test_no_server_alive_does_not_hold_it(bench, upstream):
    """The gate is closed; nothing needs it."""
    await upstream.vanish()
    made = await bench.submit(LINES)

    async with bench.running(refuse_unknown_models=False):
        await until(lambda: bench.is_in(made, BatchStatus.IN_PROGRESS))
        await cancel(bench, made)
        ended = await bench.ended(made)

    assert ended.status is BatchStatus.CANCELLED
    assert ended.error_file_id is not None


async def test_validation_under_way_is_broken_off(bench, upstream):
    """It waits for servers to say what they serve: a cancel does not."""
    bench.probe_timeout_s = 3600
    upstream.models = HANG
    made = await bench.submit(LINES)

    async with bench.running():  # asked once by whoever watches the fleet, once by validation
        await until(lambda: upstream.models_asked == 2)
        await cancel(bench, made)
        ended = await bench.ended(made)

    assert (ended.status, ended.counts.total) == (BatchStatus.CANCELLED, 0)
    assert (ended.output_file_id, ended.error_file_id) == (None, None)


@pytest.mark.parametrize("seed", range(4))
async def test_a_cancel_that_races_with_the_end_loses_or_wins_whole(bench, upstream, seed):
    """Ten batches cancelled while their last lines finish: each is completed or cancelled, and whole."""
    dice = random.Random(seed)
    batches = [await bench.submit(20) for _ in range(10)]

    async def at_some_moment(made):
        lines = dice.randint(1, 20)
        await until(lambda: bench.has_finished(made, lines))
        await cancel(bench, made)

    async with bench.running(max_in_flight=100, max_concurrent_batches=10):
        await asyncio.gather(*map(at_some_moment, batches))
        ends = [await bench.ended(made) for made in batches]
        for ended in ends:
            await bench.results(ended)

    assert {end.status for end in ends} <= {BatchStatus.COMPLETED, BatchStatus.CANCELLED}
