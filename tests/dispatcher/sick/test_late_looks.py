"""Late is not dead: while a server answers lines, a late /health or /metrics costs it nothing."""

from __future__ import annotations

import asyncio

from aiohttp import web
from scripted import HANG
from sickbed import backend, lines, sends, well

_ANSWER_S = 0.05
_MANY = 4000
"""More than are answered before a look is given up."""
_MORE = 100


def at_work():
    """Return a script of a server that works: each answer takes a moment."""
    answer = well()

    async def script(body, attempt):
        await asyncio.sleep(_ANSWER_S)
        return answer(body, attempt)

    return script


async def test_a_busy_server_whose_health_is_late_goes_on(bench, upstream):
    """Nothing is taken away from it and nothing stops: for far longer than what counts as a hang."""
    upstream.script = at_work()
    batch = await bench.submit(lines(_MANY))
    async with bench.running(hang_after_s=0.5):
        await upstream.begun.wait()
        upstream.health, asked = HANG, upstream.health_asked
        await bench.until(lambda: bench.holds(upstream.health_asked > asked + 1))
        answered = (await bench.store.get_batch(batch.id)).counts.finished
        await bench.until(lambda: bench.has_finished(batch, answered + _MORE))
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
    async with bench.running(**fleet.settings, hang_after_s=0.5):
        await fleet.sick.begun.wait()
        fleet.sick.metrics = never
        ended = await bench.ended(batch)

    assert ended.counts.failed == 0
    assert sends(fleet.sick) > sends(fleet.well) / 2
