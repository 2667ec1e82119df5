"""The page in a real browser: live without reload, clean under its policy, readable at 320 px."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from chromium import PROGRAM, open_page
from scene import Disk, backend, batch, night, overview, report, told, waiting

from batchline.model import Counts, Fault
from batchline.states import BatchStatus
from batchline.webhooks.records import OutboxOverview
from dashboard.app import add_dashboard

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="needs chromium (make test installs it)"),
]

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\u202eevil " + "x" * 300


@pytest.fixture
async def page():
    async with open_page() as opened:
        yield opened


@pytest.fixture
async def server(stage, metrics):
    """The dashboard under the real clock, as a browser's own clock is real."""
    app = web.Application()
    add_dashboard(app, view=stage, metrics=metrics, blobs=Disk(), clock=time.time, document=dict)
    async with TestServer(app) as server:
        yield server


def _now(seen):
    """Move a scene's report to the present."""
    return replace(seen, report=replace(seen.report, at=int(time.time()) + 3600))


def _one(finished, **changes):
    seen = batch(1, "live", counts=Counts(100, finished), **changes)
    return _now(overview(open_batches=(seen,), report=report(in_flight={seen.id: 4})))


TEXT = "document.querySelector('.runs .split b')?.textContent"


async def test_figures_and_rows_change_without_a_reload(page, server, stage):
    """A line finishes, a batch ends, another appears: the same document shows it all."""
    stage.seen = _one(10)
    await page.look(width=1280)
    await page.go(str(server.make_url("/")))
    await page.evaluate("window.same = true")
    await page.until(f"{TEXT} === '10'")
    width = await page.evaluate("document.querySelector('.pbar .done').getAttribute('width')")

    stage.seen = _one(42)
    await page.until(f"{TEXT} === '42'")
    wider = await page.evaluate("document.querySelector('.pbar .done').getAttribute('width')")
    assert (width, wider) == ("10.0%", "42.0%")
    assert await page.evaluate("document.title") == "42% live – batchline"

    done = batch(1, "live", status=BatchStatus.COMPLETED, output_file_id="file-abc")
    stage.seen = _now(overview(finished=(replace(done, completed_at=int(time.time())),)))
    await page.until("document.querySelector('.files a')?.getAttribute('href') !== undefined")
    href = await page.evaluate("document.querySelector('.files a').getAttribute('href')")
    assert href == "/v1/files/file-abc/content"
    await page.until("document.querySelector('.empty h3')?.textContent === 'Nothing is running'")

    assert await page.evaluate("window.same")
    assert page.problems == [], json.dumps(page.problems)


async def test_nothing_hostile_runs_and_nothing_overflows(page, server, stage):
    """Hostile names stay text; no page is wider than a small phone."""
    stage.seen = _now(
        overview(
            open_batches=(batch(1, HOSTILE, model=HOSTILE, counts=Counts(10**6, 634_118, 312)),),
            finished=(
                batch(
                    2,
                    HOSTILE,
                    status=BatchStatus.FAILED,
                    failed_at=int(time.time()),
                    faults=[Fault("invalid_json", HOSTILE, line=1)],
                ),
                *night().finished,
            ),
            report=report(
                backends=(
                    backend(0, name=HOSTILE, alive=False, reason=HOSTILE),
                    backend(1, models=(HOSTILE,)),
                    backend(2, circuit_reason=HOSTILE),
                    backend(3, circuit="open", circuit_reason=HOSTILE),
                ),
                paused=HOSTILE,
            ),
            outbox=OutboxOverview(
                newest=(*told().newest, waiting(1, "h" * 200, wait_s=1, last_error=HOSTILE)),
                waiting=(waiting(1, "h" * 200, wait_s=1500, last_error=HOSTILE),),
            ),
        )
    )
    for width in (320, 390, 700, 870, 1170, 1190, 1280):
        await page.look(width=width)
        await page.go(str(server.make_url("/")))
        await page.until("document.getElementById('live-clock').textContent !== ''")
        await page.until("document.querySelector('.why')?.isConnected")
        await page.evaluate(
            "document.querySelectorAll('details').forEach((d) => { d.open = true; })"
        )

        assert await page.evaluate(TOO_WIDE) == [], width

    assert await page.evaluate("document.images.length") == 0
    assert page.problems == [], json.dumps(page.problems)


async def test_an_open_answer_survives_a_change(page, server, stage):
    """A reader of the faults is not interrupted: what was open stays open."""
    refused = batch(
        3,
        "bad",
        status=BatchStatus.FAILED,
        failed_at=int(time.time()),
        faults=[Fault("invalid_json", "Not JSON.", line=7)],
    )
    stage.seen = _now(overview(finished=(refused,)))
    await page.look(width=1280)
    await page.go(str(server.make_url("/")))
    await page.until("document.getElementById('live-clock').textContent !== ''")
    await page.until("document.querySelector('details')?.isConnected")
    await page.evaluate("document.querySelector('details').open = true")

    done = batch(4, "good", status=BatchStatus.COMPLETED, completed_at=int(time.time()))
    stage.seen = _now(overview(finished=(done, refused)))

    await page.until("document.querySelectorAll('.name').length === 2")
    assert await page.evaluate("document.querySelector('details').open")


async def test_a_part_under_the_focus_waits(page, server, stage):
    """Nothing is replaced under the reader's finger."""
    done = batch(
        4,
        "good",
        status=BatchStatus.COMPLETED,
        completed_at=int(time.time()),
        output_file_id="file-abc",
    )
    stage.seen = _now(overview(finished=(done,)))
    await page.look(width=1280)
    await page.go(str(server.make_url("/")))
    await page.until("document.getElementById('live-clock').textContent !== ''")
    await page.until("document.querySelector('.files a')?.isConnected")
    await page.evaluate("document.querySelector('.files a').focus()")

    stage.seen = replace(_one(5), finished=(done, replace(done, id="batch_other")))
    await page.until(f"{TEXT} === '5'")
    assert await page.evaluate("document.querySelectorAll('.name').length") == 1

    await page.evaluate("document.activeElement.blur()")
    await page.until("document.querySelectorAll('.name').length === 2")


async def test_a_lost_connection_is_said_and_heals(page, stage, metrics):
    """The banner gives the age; when the server is back the page goes on by itself."""

    def serve(port=0):
        app = web.Application()
        add_dashboard(
            app, view=stage, metrics=metrics, blobs=Disk(), clock=time.time, document=dict
        )
        return TestServer(app, port=port or None)

    stage.seen = _one(10)
    first = serve()
    await first.start_server()
    port = first.port
    await page.look(width=390)
    await page.go(str(first.make_url("/")))
    await page.until("document.getElementById('live-word').textContent === 'Live'")
    await page.until(f"{TEXT} === '10'")

    await first.close()
    await page.until("!document.getElementById('stale').hidden")
    banner = await page.evaluate("document.getElementById('stale').textContent")
    assert "Updates stopped" in banner
    assert "Try now" in banner
    assert await page.evaluate("document.getElementById('live-word').textContent") == "Lost"

    stage.seen = _one(77)
    async with serve(port):
        await page.until(f"{TEXT} === '77'")
        assert await page.evaluate("document.getElementById('stale').hidden")


async def test_the_theme_is_kept_and_updates_can_be_paused(page, server, stage):
    """`t` goes round auto, light and dark and is remembered; `r` stops and starts the figures."""
    stage.seen = _one(10)
    await page.look(width=1280)
    await page.go(str(server.make_url("/")))
    await page.until(f"{TEXT} === '10'")

    async def press(key):
        await page.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        await page.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    for theme in ("light", "dark"):
        await press("t")
        assert await page.evaluate("document.documentElement.dataset.theme") == theme
    background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(15, 18, 22)"
    await page.go(str(server.make_url("/")))
    assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
    await press("t")
    assert await page.evaluate("document.documentElement.dataset.theme === undefined")

    await press("r")
    assert await page.evaluate("document.getElementById('live-word').textContent") == "Paused"
    stage.seen = _one(20)
    await press("r")
    await page.until(f"{TEXT} === '20'")


async def test_text_is_readable_in_both_themes(page, server, stage):
    """Every text has a contrast of at least 4.5 to 1 on what lies behind it."""
    stage.seen = _now(night())
    for is_dark in (False, True):
        await page.look(width=1280, is_dark=is_dark)
        await page.go(str(server.make_url("/")))
        await page.until("document.getElementById('live-clock').textContent !== ''")
        assert await page.evaluate(CONTRAST) == [], is_dark


TOO_WIDE = """document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.querySelectorAll('body *')]
    .filter((e) => e.getBoundingClientRect().right > innerWidth)
    .map((e) => `${e.tagName}.${e.getAttribute('class')}`)"""

CONTRAST = """(() => {
  const parse = (c) => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest('svg,.sr,.skip')) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push([e.textContent.trim().slice(0, 40), ratio]);
  }
  return bad;
})()"""
