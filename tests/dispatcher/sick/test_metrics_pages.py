"""/metrics is foreign text: whatever a server writes there, lines go on, and only its own reason tells."""

from __future__ import annotations

import pytest
from aiohttp import web
from sickbed import LINES, backend, lines, sends, well
from waiting import until

from batchline.states import BatchStatus

_LABELS = '{engine="0",model_name="m"}'
_GOOD = (
    f"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{_LABELS} 3.0\n"
    f"vllm:num_requests_waiting{_LABELS} 1.0\nvllm:kv_cache_usage_perc{_LABELS} 0.5\n"
)
BROKEN = {
    "cut in a label": b'vllm:num_requests_running{engine="0",model_na',
    "cut in a number": _GOOD.encode() + b"vllm:generation_tokens_total 1e",
    "without a number": b"vllm:num_requests_running\n",
    "no number": b'vllm:num_requests_running{engine="0"} many\n',
    "a label without quotes": b"vllm:num_requests_waiting{engine=0} 1\n",
}
"""A reason is told."""
ODD = {
    "with timestamps": f"vllm:num_requests_running{_LABELS} 3.0 1700000000000\n".encode(),
    "binary": bytes(range(256)) * 40,
    "empty": b"",
    "HTML": b"<html><body>Welcome</body></html>",
    "JSON": b'{"vllm:num_requests_running": 3}',
    "not UTF-8": b'vllm:num_requests_running{engine="\xff\xfe"} 3\n',
    "NaN": f"vllm:num_requests_running{_LABELS} NaN\n".encode(),
    "infinite": f"vllm:num_requests_waiting{_LABELS} +Inf\n".encode(),
    "negative": f"vllm:num_requests_running{_LABELS} -5\n".encode(),
    "huge": f"vllm:num_requests_running{_LABELS} 1e300\n".encode(),
    "a line without end": b"vllm:num_requests_running" + b"{" * 1_000_000,
}


def page(body, **fields):
    """Return a page of these bytes."""

    async def answer(request):
        return web.Response(body=body, **fields)

    return answer


async def endless(request):
    """Answer for as long as somebody reads."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"# HELP x y\n" * 5000)


async def reset(request):
    """Break off in the middle."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"vllm:num_requests_running ")
    request.transport.abort()
    return response


PAGES = {name: page(body) for name, body in (BROKEN | ODD).items()} | {
    "a charset that nobody knows": page(
        _GOOD.encode(), headers={"Content-Type": "text/plain; charset=klingon"}
    ),
    "gzip that is none": page(_GOOD.encode(), headers={"Content-Encoding": "gzip"}),
    "401": page(b"no", status=401),
    "500": page(b"no", status=500),
    "endless": endless,
    "broken off": reset,
}


@pytest.mark.parametrize("name", PAGES)
async def test_lines_go_on_whatever_metrics_say(bench, fleet, name):
    """Of the server that writes them, and of the other one."""
    fleet.sick.metrics = PAGES[name]
    fleet.sick.script = fleet.well.script = well()
    batch = await bench.submit(lines())
    async with bench.running(**fleet.settings):
        ended = await bench.ended(batch)

    assert ended.status is BatchStatus.COMPLETED
    assert (ended.counts.completed, ended.counts.failed) == (LINES, 0)
    assert sends(fleet.sick)
    assert sends(fleet.well)


@pytest.mark.parametrize("name", BROKEN)
async def test_a_page_that_cannot_be_read_is_its_servers_reason(bench, fleet, name):
    """It stays in service, and the other one has no reason."""
    fleet.sick.metrics = PAGES[name]
    async with bench.running(**fleet.settings):
        await until(lambda: _has_reason(bench, fleet.sick, "/metrics"))
        broken = await backend(bench, fleet.sick)
        other = await backend(bench, fleet.well)

    assert (broken.alive, broken.circuit) == (True, "closed")
    assert (other.alive, other.circuit, other.reason) == (True, "closed", None)


async def _has_reason(bench, server, word):
    found = await backend(bench, server)
    return found is not None and word in (found.reason or "")


async def test_engines_behind_one_address_are_summed(bench, upstream):
    """Label `engine`: what runs there is what runs in all of them."""
    upstream.metrics = "".join(
        f'vllm:num_requests_running{{engine="{n}",model_name="m"}} {n + 2}.0\n' for n in range(3)
    )
    async with bench.running():
        await until(lambda: _has_gauge(bench, upstream))
        found = await backend(bench, upstream)

    assert found.running == 9


async def test_only_what_waits_for_capacity_waits(bench, upstream):
    """It tells why requests wait: those that are deferred are no queue."""
    by_reason = "vllm:num_requests_waiting_by_reason"
    upstream.metrics = (
        'vllm:num_requests_running{engine="0"} 1\nvllm:num_requests_waiting{engine="0"} 9\n'
        f'{by_reason}{{engine="0",reason="capacity"}} 2\n'
        f'{by_reason}{{engine="0",reason="deferred"}} 7\n'
    )
    async with bench.running():
        await until(lambda: _has_gauge(bench, upstream))
        found = await backend(bench, upstream)

    assert found.waiting == 2


async def _has_gauge(bench, server):
    found = await backend(bench, server)
    return found is not None and found.running is not None
