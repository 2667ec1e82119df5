"""Batches that cannot go on hold up nobody, however many there are and whatever stops them."""

from __future__ import annotations

from aiohttp import web
from bench import request_line
from scripted import HANG, completion
from waiting import until

from batchline.states import BatchStatus


def lines(count, model="m", first=0):
    return "\n".join(request_line(i, model=model) for i in range(first, first + count))


async def test_batches_for_a_model_that_went_away_delay_nobody(bench, upstream):
    """Their lines wait, whether they were claimed or not; a new batch ends, theirs go on later."""
    upstream.models = ["m", "gone"]
    async with bench.running():
        await until(lambda: upstream.models_asked > 1)
        upstream.script = lambda body, attempt: HANG
        waiting = [await bench.submit(lines(200, "gone")) for _ in range(12)]
        await upstream.arrived.wait()
        for one in waiting:
            await until(lambda one=one: bench.is_in(one, BatchStatus.IN_PROGRESS))
        upstream.models = ["m"]
        asked = upstream.models_asked
        await until(lambda: upstream.models_asked > asked + 1)
        upstream.script = lambda body, attempt: web.json_response(completion())
        upstream.release.set()
        ended = await bench.ended(await bench.submit(lines(20)))
        halted = [(await bench.store.get_batch(one.id)).counts.finished for one in waiting]
        upstream.models = ["m", "gone"]
        ends = [await bench.ended(one) for one in waiting]

    assert ended.counts.completed == 20
    assert sum(halted) < 12 * 200
    assert {end.counts.completed for end in ends} == {200}


async def test_a_long_last_line_takes_nobody_s_turn(bench, upstream):
    """Eight batches wait for their last answer, and eight may run: a ninth runs at once."""
    upstream.script = lambda body, attempt: (
        HANG if body["tag"] == "t0" else web.json_response(completion())
    )
    async with bench.running(max_concurrent_batches=8):
        long = [await bench.submit(3) for _ in range(8)]
        for one in long:
            await until(lambda one=one: bench.has_finished(one, 2))
        ended = await bench.ended(await bench.submit(lines(20, first=1)))
        upstream.release.set()
        ends = [await bench.ended(one) for one in long]

    assert ended.counts.completed == 20
    assert {end.counts.completed for end in ends} == {3}


async def test_lines_that_wait_for_their_retry_take_nobody_s_turn(bench, upstream):
    """One batch may run, and all lines of it are in back-off: another one runs meanwhile."""
    upstream.script = lambda body, attempt: (
        web.Response(status=429, headers={"Retry-After": "600"})
        if body["model"] == "slow" and not upstream.release.is_set()
        else web.json_response(completion())
    )
    upstream.models = ["m", "slow"]
    async with bench.running(max_concurrent_batches=1):
        waiting = await bench.submit(lines(5, "slow"))
        await until(lambda: len(upstream.seen) == 5)
        ended = await bench.ended(await bench.submit(lines(20, first=10)))

        assert ended.counts.completed == 20
        assert await bench.is_in(waiting, BatchStatus.IN_PROGRESS)


async def test_as_many_batches_run_as_have_room(bench, upstream):
    """Without a limit of batches only that of requests holds: 30 batches of one line fly at once."""
    upstream.script = lambda body, attempt: HANG
    async with bench.running(max_in_flight=30):
        batches = [await bench.submit(1) for _ in range(30)]
        await until(lambda: upstream.in_flight == 30)
        upstream.release.set()
        ends = [await bench.ended(one) for one in batches]

    assert {end.status for end in ends} == {BatchStatus.COMPLETED}
