"""The README's pictures are made by a real browser from a realistic night.

`PICTURES=1` writes them to docs/images (with Inter installed, as in the design); reduce them to 256
colours before committing, so that each stays below 200 kB.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from chromium import PROGRAM, open_page
from scene import NOW, delivery, night, to_handler

from batchline.webhooks.records import OutboxFigures, OutboxOverview

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="needs chromium (make test installs it)"),
]

IMAGES = Path(__file__).parents[2] / "docs" / "images"
VIEWS = {
    "overview-light": {"width": 1280, "height": 1000},
    "overview-dark": {"width": 1280, "height": 1000, "is_dark": True},
    "overview-light-phone": {"width": 390, "height": 844},
    "overview-dark-phone": {"width": 390, "height": 844, "is_dark": True},
}
EACH_ONCE = ("overview-light", "overview-dark-phone")  # each theme and each width


def _seen(age_s):
    """The night, with a deliverer that has told of what ended and hands out the last results."""
    outbox = OutboxOverview(
        figures=OutboxFigures(1, NOW - 20, 0),
        endpoints=1,
        newest=(to_handler(3, "parquet"), delivery(2), delivery(1)),
    )
    return replace(night(age_s), outbox=outbox)


@pytest.fixture
def hour_ago(stage, clock):
    """The state that the dashboard starts with."""
    clock.at, stage.seen = NOW - 3610, _seen(3610)


async def _live_through(client, stage, clock):
    """Let the dashboard see the last hour, a look each ten seconds."""
    for age_s in range(3600, -1, -10):
        clock.at, stage.seen = NOW - age_s, _seen(age_s)
        assert (await client.get("/ui/part/storage")).status == 200


async def test_the_pictures_show_the_whole_page_in_both_themes(
    hour_ago, client, stage, clock, tmp_path
):
    """Each picture is whole, small enough for a README, and made without one console error."""
    await _live_through(client, stage, clock)
    shift_ms = round((NOW - time.time()) * 1000)
    is_for_docs = bool(os.environ.get("PICTURES"))
    target, names = (IMAGES, tuple(VIEWS)) if is_for_docs else (tmp_path, EACH_ONCE)

    async with open_page() as page:
        fake_now = (
            f"const now = Date.now; Date.now = () => now() + {shift_ms};"
            "const D = Date; Date = class extends D { constructor(...a) "
            "{ a.length ? super(...a) : super(Date.now()); } };"
        )
        await page.call("Page.addScriptToEvaluateOnNewDocument", source=fake_now)
        for name in names:
            await page.look(**VIEWS[name], scale=1.5)
            await page.go(str(client.make_url("/")))
            await page.until("document.getElementById('live-clock').textContent !== ''")
            await page.picture(target / f"{name}.png")

            wide = await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            size = (target / f"{name}.png").stat().st_size
            assert wide, name
            assert size < 600_000, (name, size)
        assert page.problems == [], json.dumps(page.problems)
