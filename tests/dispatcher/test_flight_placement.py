"""A running dispatcher, real nginx, two scripted backends: which line went where."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from itertools import count
from types import SimpleNamespace

import pytest
from aiohttp import web
from bench import request_line
from ports import free_port
from real_nginx import behind_nginx
from scripted import HANG, RESET, Scripted, completion, error
from waiting import until

from batchline.fleet import nginx
from dispatcher.replies import upstream as dispatcher_upstream


@pytest.fixture
async def fleet(bench, tmp_path):
    """Two backends behind nginx, and the settings that name them."""
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(Scripted()) for _ in range(2)]
        urls = [backend.url for backend in backends]
        settings = await stack.enter_async_context(behind_nginx(bench, tmp_path / "nginx", *urls))
        yield SimpleNamespace(backends=backends, settings=settings)


def ok(body, attempt):
    return web.json_response(completion())


async def circuits(bench):
    """Return how each backend was last reported to stand."""
    report = await bench.store.fleet_report()
    return [backend.circuit for backend in report.backends] if report else []


def test_nginx_and_the_dispatcher_agree_on_the_header():
    """Leaf and core each name it."""
    assert dispatcher_upstream.BACKEND_HEADER == nginx.BACKEND_HEADER
    assert dispatcher_upstream.NGINX_GROUP == nginx.GROUP


async def test_lines_are_spread_evenly(bench, fleet):
    """Of 16 lines in flight together, each of two backends has eight."""
    barrier = asyncio.Barrier(16)

    async def together(body, attempt):
        await barrier.wait()
        return web.json_response(completion())

    for backend in fleet.backends:
        backend.script = together
    batch = await bench.submit(32)
    async with bench.running(**fleet.settings):
        await bench.ended(batch)

    assert [backend.most_in_flight for backend in fleet.backends] == [8, 8]


async def test_a_line_that_was_lost_goes_to_the_other_backend(bench, fleet):
    """Whatever breaks on one backend is tried on another one next."""
    for backend in fleet.backends:
        backend.script = lambda body, attempt: (
            RESET if sum(b.seen[body["tag"]] for b in fleet.backends) == 1
            else web.json_response(completion())
        )  # fmt: skip
    batch = await bench.submit(10)
    async with bench.running(**fleet.settings):
        ended = await bench.ended(batch)

    assert ended.counts.completed == 10
    first, second = (backend.seen for backend in fleet.backends)
    assert first == second == dict.fromkeys((f"t{i}" for i in range(10)), 1)


async def test_a_backend_that_refuses_burns_no_attempt(bench, fleet):
    """Its lines go to the other one, each with its one attempt still to spend."""
    await fleet.backends[0].vanish()
    batch = await bench.submit(40)
    async with bench.running(**fleet.settings, max_attempts=1):
        ended = await bench.ended(batch)

    assert ended.counts.completed == 40
    assert set(fleet.backends[1].seen.values()) == {1}


async def test_a_stuck_engine_loses_its_lines_to_the_other_backend(bench, fleet):
    """It answers the probe, but nothing in it moves: its lines are aborted and tried elsewhere."""
    stuck, well = fleet.backends
    stuck.metrics = 'vllm:num_requests_running{engine="0"} 8\nvllm:generation_tokens_total 5\n'
    stuck.script = lambda body, attempt: HANG
    batch = await bench.submit(40)
    async with bench.running(**fleet.settings, hang_after_s=1):
        await until(lambda: _are(bench, ["open", "closed"]))
        ended = await bench.ended(batch)
        await until(lambda: stuck.in_flight == 0)

    assert ended.counts.completed == 40
    assert stuck.disconnects == sum(stuck.seen.values()) >= 8
    assert set(well.seen.values()) == {1}
    name = stuck.url.removeprefix("http://")
    assert bench.metrics.backend_hangs.labels(name)._value.get() == 1


async def test_an_engine_that_works_slowly_is_left_alone(bench, fleet):
    """Nothing is answered for longer than the hang time, but its cache fills: a long prompt."""
    for backend in fleet.backends:
        backend.script = lambda body, attempt: HANG
    batch = await bench.submit(4)
    looks = count(1)
    for backend in fleet.backends:
        backend.metrics = lambda: f"vllm:kv_cache_usage_perc {next(looks) / 1000}\n"
    async with bench.running(**fleet.settings, hang_after_s=0.5):
        await asyncio.gather(*(backend.arrived.wait() for backend in fleet.backends))
        asked = fleet.backends[0].health_asked
        await until(
            lambda: fleet.backends[0].health_asked > asked + 20
        )  # a second: twice that time
        for backend in fleet.backends:
            backend.release.set()
        ended = await bench.ended(batch)

    assert ended.counts.completed == 4
    assert [backend.disconnects for backend in fleet.backends] == [0, 0]


async def test_a_frozen_server_loses_its_lines_to_the_other_backend(bench, tmp_path):
    """SIGSTOP: the kernel accepts its connections, and nothing answers."""
    port = free_port()
    frozen = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.instant", str(port)
    )
    try:
        async with Scripted() as well:
            well.models = ["instant"]
            urls = (f"http://127.0.0.1:{port}", well.url)
            async with (
                behind_nginx(bench, tmp_path / "nginx", *urls) as settings,
                bench.running(**settings, hang_after_s=1, refuse_unknown_models=False),
            ):
                await until(lambda: _are(bench, ["closed", "closed"]))
                os.kill(frozen.pid, signal.SIGSTOP)
                batch = await bench.submit(100)
                ended = await bench.ended(batch)

        assert ended.counts.completed == 100
        assert len(well.seen) == 100
    finally:
        frozen.kill()
        await frozen.wait()


async def _are(bench, states):
    return await circuits(bench) == states


async def test_a_draining_backend_ends_its_lines_in_peace(bench, fleet):
    """Its /health says 503: it gets nothing new, and what it has is not sent again."""
    draining, other = fleet.backends
    draining.script = lambda body, attempt: HANG
    batch = await bench.submit(60)
    async with bench.running(**fleet.settings):
        await until(lambda: draining.in_flight == 8)
        draining.health = 503
        await until(lambda: _are(bench, ["open", "closed"]))
        await until(lambda: len(other.seen) == 52)
        draining.release.set()
        ended = await bench.ended(batch)

    assert ended.counts.completed == 60
    assert len(draining.seen) == 8
    assert set(draining.seen.values()) == set(other.seen.values()) == {1}


async def test_a_server_that_shuts_down_burns_no_attempt(bench, fleet):
    """What vLLM says then: 500, `cannot schedule new futures after shutdown`."""
    stopping, other = fleet.backends
    stopping.script = lambda body, attempt: error(500, "cannot schedule new futures after shutdown")
    batch = await bench.submit(60)
    async with bench.running(**fleet.settings, max_attempts=1):
        ended = await bench.ended(batch)

    assert ended.counts.completed == len(other.seen) == 60


async def test_all_backends_gone_and_back_burn_no_attempt(bench, fleet):
    """The pause says why; the first line back is alone, and all are answered."""
    for backend in fleet.backends:
        await backend.vanish()
    batch = await bench.submit(100)
    async with bench.running(**fleet.settings, max_attempts=1):

        async def is_paused():
            report = await bench.store.fleet_report()
            return report is not None and "does not accept" in (report.paused or "")

        await until(is_paused)
        for backend in fleet.backends:
            await backend.listen()
        ended = await bench.ended(batch)

    assert ended.counts.completed == 100
    for backend in fleet.backends:
        assert set(backend.seen.values()) == {1}


async def test_lines_go_only_where_their_model_is_served(bench, fleet):
    """However idle the other backend is."""
    right, wrong = fleet.backends
    wrong.models = ["other"]
    batch = await bench.submit(50)
    async with bench.running(**fleet.settings):
        ended = await bench.ended(batch)

    assert ended.counts.completed == len(right.seen) == 50
    assert not wrong.seen


async def test_lines_whose_model_went_away_wait_and_others_go_on(bench, fleet):
    """A backend was started anew with another model: named, and nothing of the batch fails."""
    for backend in fleet.backends:
        backend.script = ok
    gate = asyncio.Event()

    async def held(body, attempt):
        await gate.wait()
        return web.json_response(completion())

    fleet.backends[0].script = held
    fleet.backends[1].models = ["n"]
    async with bench.running(**fleet.settings):
        first = await bench.submit(400)
        await fleet.backends[0].begun.wait()
        fleet.backends[0].models = ["n"]
        fleet.backends[0].health = 503
        await until(lambda: _are(bench, ["open", "closed"]))
        fleet.backends[0].health = 200
        gate.set()

        async def is_named():
            waiting = (await bench.store.fleet_report()).waiting
            return waiting == {first.id: "No backend in service serves m."}

        await until(is_named)
        lines = [request_line(i, model="n") for i in range(30)]
        second = await bench.submit("\n".join(lines))
        assert (await bench.ended(second)).counts.completed == 30
        assert (await bench.store.get_batch(first.id)).counts.failed == 0
        fleet.backends[1].models = ["m", "n"]
        fleet.backends[1].health = 503
        await until(lambda: _are(bench, ["closed", "open"]))
        fleet.backends[1].health = 200
        ended = await bench.ended(first)

    assert ended.counts.completed == 400


async def test_a_backend_that_denies_its_model_burns_no_attempt(bench, fleet):
    """It lists the model and answers 404 for it: the other one is asked."""
    denies, serves = fleet.backends
    denies.script = lambda body, attempt: error(404, "The model `m` does not exist.")
    batch = await bench.submit(50)
    async with bench.running(**fleet.settings, max_attempts=1):
        ended = await bench.ended(batch)

    assert ended.counts.completed == len(serves.seen) == 50


async def test_each_line_of_a_mixed_batch_finds_its_backend(bench, fleet):
    """Two models in one file, one server for each."""
    fleet.backends[1].models = ["n"]
    lines = [request_line(i, model="mn"[i % 2]) for i in range(40)]
    batch = await bench.submit("\n".join(lines))
    async with bench.running(**fleet.settings):
        ended = await bench.ended(batch)

    assert ended.counts.completed == 40
    assert [len(backend.seen) for backend in fleet.backends] == [20, 20]


async def test_a_line_that_waits_for_its_body_is_not_lost_with_a_stuck_engine(bench, fleet):
    """It has a place there and was not sent yet: it is ready again."""
    stuck, well = fleet.backends
    stuck.metrics = 'vllm:num_requests_running{engine="0"} 8\nvllm:generation_tokens_total 5\n'
    stuck.script = lambda body, attempt: error(409) if attempt == 1 else HANG
    well.script = lambda body, attempt: error(409) if attempt == 1 else ok(body, attempt)
    disk, reads = asyncio.Event(), count()

    async def held_up(blobs, ranges):
        if next(reads):  # what is read when they are claimed is no wait of theirs
            await disk.wait()
        return await blobs.read_many(ranges)

    bench.instead("blobs", read_many=held_up)
    lines = "\n".join(request_line(i, pad="x" * 50_000) for i in range(12))
    batch = await bench.submit(lines)
    async with bench.running(**fleet.settings, hang_after_s=1, max_held_bytes=120_000):
        await until(lambda: _are(bench, ["open", "closed"]))
        disk.set()
        ended = await bench.ended(batch)

    assert (ended.counts.completed, ended.counts.failed) == (12, 0)


async def test_the_time_that_one_backend_asks_for_holds_no_line_while_others_are_free(bench, fleet):
    """Retry-After is that backend's: its lines go elsewhere at once."""
    full, well = fleet.backends
    full.script = lambda body, attempt: error(503, **{"Retry-After": "500"})
    well.script = ok
    batch = await bench.submit(40)
    async with bench.running(**fleet.settings, max_attempts=1):
        ended = await bench.ended(batch)

    assert ended.counts.completed == 40
