"""Signing in with a real browser, and what other sites can do with a reader who is signed in."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from chromium import PROGRAM, open_page
from inputs import requests
from processes import System

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="needs chromium (make test installs it)"),
]

IS_LIVE = "Boolean(document.getElementById('live-clock')?.textContent)"
KEY = "sk-for-people-and-programs"


@pytest.fixture
def system(tmp_path):
    made = System(tmp_path, "http://127.0.0.1:9", api_key=KEY)
    made.start("gateway")
    made.until_logged("listens on")
    yield made
    made.stop()


@pytest.fixture
async def page():
    async with open_page() as opened:
        yield opened


@asynccontextmanager
async def foreign(host, body):
    """Another server with one page."""

    async def show(_):
        return web.Response(text=f"<!doctype html>{body}", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", show)
    async with TestServer(app) as server:
        yield f"http://{host}:{server.port}/"


async def give(page, key):
    """Fill in the form and send it."""
    await page.until("document.getElementById('key') && document.readyState === 'complete'")
    await page.evaluate(f"document.getElementById('key').value = {json.dumps(key)}")
    await page.evaluate("document.querySelector('.sign-in button').click()")


async def sign_in(page, system):
    await page.call("Page.navigate", url=system.url + "/")
    await give(page, KEY)
    await page.until(IS_LIVE)


async def status_of(page, path, **options):
    """Fetch as a script of the page; return the status, 0 if hidden from the script, -1 if refused."""
    await page.evaluate(
        f"window.seen = null; fetch({json.dumps(path)}, {json.dumps(options)})"
        ".then((a) => { window.seen = a.status; }, () => { window.seen = -1; })"
    )
    await page.until("window.seen !== null")
    return await page.evaluate("window.seen")


async def test_a_reader_signs_in_once_and_sees_everything(page, system):
    """The page, its live figures and its downloads; out again, nothing."""
    file = system.client.files.create(file=("in.jsonl", requests(1)), purpose="batch")
    await page.call("Page.navigate", url=system.url + "/")
    await give(page, "sk-guessed")
    await page.until("document.querySelector('.note.bad') !== null")
    assert await page.evaluate("location.pathname") == "/sign-in"
    await give(page, KEY)
    await page.until(IS_LIVE)
    assert await page.evaluate("location.pathname") == "/"

    download = f"/v1/files/{file.id}/content"
    assert await status_of(page, download) == 200
    assert await page.evaluate("document.cookie") == ""  # a script cannot take it
    assert await status_of(page, f"/v1/files/{file.id}", method="DELETE") == 403
    token = await page.evaluate("document.querySelector('meta[name=csrf-token]').content")
    headers = {"x-csrf-token": token}
    assert await status_of(page, f"/v1/files/{file.id}", method="DELETE", headers=headers) == 200

    await page.evaluate("document.querySelector('form[action=\"/sign-out\"] button').click()")
    await page.until("location.pathname === '/sign-in'")
    assert await status_of(page, download) == 401
    assert page.problems == [p for p in page.problems if "status of 40" in str(p)]


async def test_a_new_key_ends_the_session_of_an_open_page(page, system):
    """The page loses its stream and asks to sign in."""
    await sign_in(page, system)

    system.kill("gateway")
    system.environment["BATCHLINE_API_KEY"] = "sk-another"
    system.start("gateway")

    await page.until("location.pathname === '/sign-in'")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_other_sites_can_do_nothing_with_a_reader_who_is_signed_in(page, system, host):
    """Neither another site nor another port of the same one: no change, no sight, no frame."""
    file = system.client.files.create(file=("in.jsonl", requests(1)), purpose="batch")
    await sign_in(page, system)
    url = f"{system.url}/v1/files/{file.id}"
    frame = f'<iframe src="{system.url}/"></iframe>'
    async with foreign(host, frame) as elsewhere:
        await page.call("Page.navigate", url=elsewhere)
        await page.until(f"location.href === {json.dumps(elsewhere)} && frames.length === 1")
        for options in (
            {"method": "DELETE", "credentials": "include"},
            {"method": "POST", "mode": "no-cors", "credentials": "include", "body": "{}"},
        ):
            assert await status_of(page, url, **options) in (-1, 0, 403)
        assert await status_of(page, url, credentials="include") == -1  # no CORS: unreadable
        await page.until("frames[0].length === 0")
        shown = await page.evaluate(
            "(() => { try { return frames[0].document.body.textContent } catch { return null } })()"
        )
        assert not shown
    assert system.client.files.retrieve(file.id).id == file.id


async def test_a_link_from_elsewhere_finds_a_reader_who_is_signed_in(page, system):
    """The browser keeps the cookie back at first; nobody has to sign in twice."""
    await sign_in(page, system)
    link = f'<a id="link" href="{system.url}/docs">batchline</a>'
    async with foreign("localhost", link) as elsewhere:
        await page.go(elsewhere)
        await page.evaluate("document.getElementById('link').click()")
        await page.until("location.pathname === '/docs' && document.readyState === 'complete'")
        await page.until("document.querySelector('form[action=\"/sign-out\"]') !== null")
