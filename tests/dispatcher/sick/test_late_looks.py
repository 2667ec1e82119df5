"""Late is not dead: while a server answers lines, a late /health or /metrics costs it nothing."""

from __future__ import annotations

from aiohttp import web
from scripted import HANG, taking
from sickbed import backend, lines, sends, well
from waiting import until

from dispatcher.probing.in_flight_limit import BLIND_PER_BACKEND

_ANSWER_S = 0.05
_SLOW_S = 0.25
_MANY = 4000
"""More than are answered before a look is given up."""
_MORE = 100


def at_work(seconds=_ANSWER_S):
    """Return a script of a server that works: each answer takes a moment."""
    return taking(seconds, well())


async def test_a_busy_server_whose_health_is_late_goes_on(bench, upstream):
    """Nothing is taken away from it and nothing stops: for far longer than what counts as a hang."""
    upstream.script = at_work()
    batch = await bench.submit(lines(_MANY))
    async with bench.running(hang_after_s=15):
        await upstream.begun.wait()
        upstream.health, asked = HANG, upstream.health_asked
        await until(lambda: upstream.health_asked > asked + 1)
        answered = (await bench.store.get_batch(batch.id)).counts.finished
        await until(lambda: bench.has_finished(batch, answered + _MORE))
        found, report = await backend(bench, upstream), await bench.store.fleet_report()
        left = await bench.store.get_batch(batch.id)

    assert (found.circuit, report.paused) == ("closed", None)
    assert left.counts.failed == 0
    assert set(upstream.seen.values()) == {1}


async def test_late_metrics_are_no_news(bench, fleet):
    """The server is as well as it was, and takes its half."""

    async def never(request):
        await fleet.sick.release.wait()
        return web.Response()

    fleet.sick.script = fleet.well.script = at_work()
    batch = await bench.submit(lines())
    async with bench.running(**fleet.settings, hang_after_s=2.5):
        await fleet.sick.begun.wait()
        fleet.sick.metrics = never
        ended = await bench.ended(batch)

    assert ended.counts.failed == 0
    assert sends(fleet.sick) > sends(fleet.well) / 2


async def test_a_late_health_leaves_the_limit_as_it_is(bench, upstream):
    """Its figures are old then: the limit falls neither to a blind server's, nor does it grow."""

    async def grown():
        report = await bench.store.fleet_report()
        return report is not None and report.limit > BLIND_PER_BACKEND * 1.5

    async def is_late():
        found = await backend(bench, upstream)
        return "late" in (found.reason or "")

    upstream.script = at_work(_SLOW_S)
    upstream.metrics = lambda: f'vllm:num_requests_running{{engine="0"}} {upstream.in_flight}\n'
    await bench.submit(lines(_MANY))
    async with bench.running(max_in_flight=None):
        await until(grown)
        upstream.health, asked = HANG, upstream.health_asked
        await until(is_late)
        report = await bench.store.fleet_report()
        await until(lambda: upstream.health_asked > asked + 1)
        later = await bench.store.fleet_report()

    assert report.limit == later.limit > BLIND_PER_BACKEND * 1.5
    assert [one.running is not None for one in later.backends] == [True]
