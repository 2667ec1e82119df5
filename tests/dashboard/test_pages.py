"""The page as a browser without JavaScript sees it, its parts, stream and static files."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from dataclasses import replace

import aiohttp_jinja2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from claims import claim_one
from scene import NOW, Disk, backend, batch, night, overview, report
from waiting import until

from batchline.errors import StoreUnavailable
from batchline.model import Counts, Fault, FleetReport, Outcome, SegmentRef, Settlement
from batchline.states import BatchStatus, OutcomeKind
from dashboard.app import add_dashboard
from dashboard.routes import PARTS, moment


@pytest.fixture
def locked(stage):
    """A database that refuses from the start."""
    stage.fault = StoreUnavailable("The database is locked.")


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202e{{7*7}}\x1b[31m"


async def test_the_page_is_whole_without_javascript(client, put):
    """Everything is in the first answer; it reloads itself where there is no script."""
    put(night())

    answer = await client.get("/")
    html = await answer.text()

    assert answer.status == 200
    for text in ("nightly-eval-0212", "634,118", "Not answering", "Results", "1.4 TB free"):
        assert text in html
    assert '<noscript><meta http-equiv="refresh"' in html


async def test_the_policy_allows_only_what_this_server_sends(client):
    """A strict policy on every answer, and nothing on the page that it refuses."""
    html = await (await client.get("/")).text()

    for path in ("/", "/ui/part/running", "/static/style.css", "/favicon.svg"):
        headers = (await client.get(path)).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'self';")
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert " style=" not in html
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"\son[a-z]+=", html)
    assert not re.search(r"(src|href)=\"(https?:)?//", html)


async def test_hostile_text_is_inert(client, put):
    """Names, reasons, models and fault messages never become markup."""
    put(
        overview(
            open_batches=(batch(1, HOSTILE, model=HOSTILE, counts=Counts(10, 1)),),
            finished=(
                batch(
                    2,
                    HOSTILE,
                    status=BatchStatus.FAILED,
                    failed_at=NOW,
                    faults=[Fault("invalid_json", HOSTILE, line=1)],
                ),
            ),
            report=report(
                backends=(
                    backend(0, name=HOSTILE, alive=False, reason=HOSTILE),
                    backend(1, models=(HOSTILE,)),
                ),
                paused=HOSTILE,
            ),
        )
    )

    html = await (await client.get("/")).text()

    assert "<script>alert" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "{{7*7}}" in html


@pytest.mark.parametrize("circuit", ["closed", "half_open", "open"])
async def test_a_live_backend_says_what_is_the_matter(client, put, circuit):
    """In words on the page, whole in its title, however it stands."""
    why = "redirects /v1/rerank to http://elsewhere (302): name the address that answers itself"
    put(overview(report=report(backends=(backend(0, circuit=circuit, circuit_reason=why),))))

    html = await (await client.get("/ui/part/backends")).text()

    assert f'title="{why}"' in html
    assert f" {why}</span>" in html


@pytest.mark.parametrize("name", PARTS)
async def test_each_part_is_served_alone_as_on_the_page(client, put, name):
    """A part fetched later is the part that the page has."""
    put(night())
    page = await (await client.get("/")).text()

    part = await (await client.get(f"/ui/part/{name}")).text()

    assert part.strip() in page
    assert f'data-part="{name}"' in part


async def test_a_part_is_rendered_once_for_all_viewers(client, put):
    """Ten pages whose structure changed ask for the same part within a second; the page has it, too."""
    filters, calls = aiohttp_jinja2.get_env(client.app).filters, []
    real = filters["moment"]
    filters["moment"] = lambda *given: calls.append(given) or real(*given)
    put(night())

    async def texts():
        return [await (await client.get("/ui/part/finished")).text() for _ in range(10)]

    first = await texts()
    assert len(calls) <= 2 * len(night().finished)  # the poller may look in between
    assert len(set(first)) == 1

    put(replace(night(), finished=night().finished[1:]))
    assert set(await texts()).isdisjoint(first)


async def test_an_unknown_part_is_not_found(client):
    """Only parts of the page can be asked for."""
    assert (await client.get("/ui/part/nothing")).status == 404
    assert (await client.get("/ui/part/..%2Fbase")).status == 404


async def test_the_page_says_what_the_dashboard_lacks(locked, client):
    """When nothing can be read the page says so, with 503, and what still works."""
    answer = await client.get("/")
    html = await answer.text()

    assert answer.status == 503
    assert "The database is locked." in html
    assert (await client.get("/ui/part/running")).status == 503


async def test_an_empty_service_tells_how_to_begin(client):
    """The command is on the page."""
    html = await (await client.get("/")).text()

    assert "batchline submit requests.jsonl --wait" in html
    assert "Nothing is running" in html


async def test_static_files_are_kept_by_version(client):
    """With its version a file is kept for good, without it is asked for again."""
    html = await (await client.get("/")).text()
    path = re.search(r"/static/style\.css\?v=\w+", html)[0]

    kept = await client.get(path)
    plain = await client.get("/static/style.css")
    again = await client.get("/static/style.css", headers={"If-None-Match": plain.headers["ETag"]})

    assert "immutable" in kept.headers["Cache-Control"]
    assert plain.headers["Cache-Control"] == "no-cache"
    assert again.status == 304
    assert (await client.get("/static/app.py")).status == 404


async def test_the_icon_has_a_dot_when_something_needs_attention(client):
    """Two icons, one address."""
    calm = await (await client.get("/favicon.svg")).text()
    alert = await (await client.get("/favicon.svg?attention")).text()

    assert "circle" not in calm
    assert "circle" in alert


def test_a_time_without_script_is_utc_and_has_a_day_when_not_today():
    """Readers without JavaScript see UTC."""
    now = "2026-02-12T01:30:07Z"
    assert moment("2026-02-12T00:44:00Z", now) == "00:44 UTC"
    assert moment("2026-02-11T21:51:00Z", now) == "Wed 21:51 UTC"
    assert moment("", now) == ""


async def _events(answer):
    event, number = "message", ""
    async for raw in answer.content:
        line = raw.decode().rstrip("\r\n")
        if line.startswith("event: "):
            event = line[7:]
        elif line.startswith("id: "):
            number = line[4:]
        elif line.startswith("data: "):
            yield event, number, json.loads(line[6:])
            event = "message"


async def _first(client):
    async with asyncio.timeout(60), client.get("/ui/stream") as answer:
        assert answer.headers["X-Accel-Buffering"] == "no"
        async for event in _events(answer):
            if event[0] == "message":
                return event
    raise AssertionError("the stream ended")


async def test_a_reconnecting_page_gets_everything(client, put):
    """Each stream starts with all figures, whatever was sent before."""
    put(night())
    first, second = await _first(client), await _first(client)

    assert first[2].keys() == second[2].keys()


async def test_the_stream_beats_when_nothing_changes(client):
    """A still page hears something every other second, so silence means trouble."""
    async with asyncio.timeout(60), client.get("/ui/stream") as answer:
        seen = [e async for e in _until(_events(answer), 4)]

    assert [e[0] for e in seen] == ["part", "message", "message", "message"]


async def test_more_pages_than_places_are_told_to_come_back(client):
    """503 with Retry-After; a page that is left makes room for another one."""
    async with asyncio.timeout(60), AsyncExitStack() as watched:
        for _ in range(3):
            answer = await watched.enter_async_context(client.get("/ui/stream"))
            await anext(_events(answer))
        refused = await client.get("/ui/stream")
        assert (refused.status, refused.headers["Retry-After"]) == (503, "10")

    async def is_let_in():
        async with client.get("/ui/stream") as answer:
            return answer.status == 200

    await until(is_let_in)


async def _until(events, n):
    async for event in events:
        yield event
        n -= 1
        if not n:
            return


async def test_a_change_in_the_real_store_reaches_the_stream(
    store, blobs, make_batch, metrics, clock
):
    """A batch created, then a line settled: both arrive without a reload."""
    app = web.Application()
    add_dashboard(app, view=store, metrics=metrics, blobs=blobs, clock=clock, document=dict)
    await store.report(FleetReport(at=int(clock()), limit=8))

    async with (
        asyncio.timeout(60),
        TestClient(TestServer(app)) as client,
        client.get("/ui/stream") as answer,
    ):
        events = _events(answer)
        while (event := await anext(events))[0] != "message":
            pass
        assert event[2]["s.head"] == "Ready. Nothing has been run yet."

        made = await make_batch(lines=8)
        shape = await _wait_for(events, lambda name, data: name == "part" and "running" in data)
        assert shape

        claim = await claim_one(store, made, slices=1, holder="d", ttl_s=30)
        lease = claim.leases[0]
        outcome = Outcome(0, OutcomeKind.SUCCEEDED, b"{}\n")
        segment = SegmentRef("segments/x/1", 0, 3)
        settlement = Settlement(made.seq, segment, [(lease, [outcome])])
        assert (await store.settle([settlement], now=int(clock()))).lines == 1
        figures = await _wait_for(
            events,
            lambda name, data: (
                name == "message" and any(k.endswith(".done") and v == "1" for k, v in data.items())
            ),
        )
        assert figures["title"] == "12% " + made.id + " – batchline"
        html = await (await client.get("/ui/part/running")).text()
        assert made.id in html


async def _wait_for(events, is_it):
    async for name, _, data in events:
        if is_it(name, data):
            return data
    raise AssertionError("the stream ended")


async def test_the_server_stops_while_pages_watch(stage, metrics, clock):
    """Open streams end by themselves on shutdown."""
    app = web.Application()
    add_dashboard(app, view=stage, metrics=metrics, blobs=Disk(), clock=clock, document=dict)
    async with asyncio.timeout(60), TestClient(TestServer(app)) as client:
        answer = await client.get("/ui/stream")
        await anext(_events(answer))
