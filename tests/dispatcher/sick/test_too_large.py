"""A proxy that refuses long requests: only lines of that length wait or go elsewhere."""

from __future__ import annotations

from aiohttp import web
from sickbed import LINES, lines, sends, until_said, well
from waiting import until

_BOUND_BYTES = 2000
_LONG = "x" * 3000


class Proxy:
    """A server behind a proxy that lets no longer request through than it is told."""

    def __init__(self, server):
        self.most_bytes = _BOUND_BYTES
        self.refused = 0
        self._server, self._answer = server, well()

    def __call__(self, body, attempt):
        if len(self._server.requests[-1].body) > self.most_bytes:
            self.refused += 1
            page = "<html><h1>413 Request Entity Too Large</h1></html>"
            return web.Response(status=413, text=page, content_type="text/html")
        return self._answer(body, attempt)


def mixed(of_each):
    """Return short lines and long ones, by turns."""
    short = lines(of_each).split("\n")
    long = lines(of_each, first=of_each, padding=_LONG).split("\n")
    return "\n".join(line for pair in zip(short, long, strict=True) for line in pair)


async def test_long_lines_go_where_they_are_taken(bench, fleet):
    """Short ones go to both servers."""
    fleet.sick.script, fleet.well.script = Proxy(fleet.sick), well()
    batch = await bench.submit(mixed(100))
    async with bench.running(**fleet.settings, max_attempts=1):
        ended = await bench.ended(batch)

    assert (ended.counts.completed, ended.counts.failed) == (200, 0)
    assert fleet.sick.script.refused <= 20
    assert sends(fleet.sick) - fleet.sick.script.refused >= 20


async def test_long_lines_wait_and_short_ones_are_answered(bench, upstream):
    """Of this batch and of others; it is said what the proxy refuses, and when it takes more all are answered."""
    proxy = upstream.script = Proxy(upstream)
    batch = await bench.submit(mixed(100))
    async with bench.running(max_attempts=1):
        await until(lambda: bench.has_finished(batch, 100))
        await until_said(bench, "as too large (413)")
        waiting = await bench.store.get_batch(batch.id)
        other = await bench.ended(await bench.submit(lines()))
        proxy.most_bytes = 1 << 20
        ended = await bench.ended(batch)

    assert (waiting.counts.completed, waiting.counts.failed) == (100, 0)
    assert (other.counts.completed, other.counts.failed) == (LINES, 0)
    assert (ended.counts.completed, ended.counts.failed) == (200, 0)
