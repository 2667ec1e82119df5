"""A web page of another site, in a real browser, against a running gateway: it changes and reads nothing."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from chromium import PROGRAM, open_page

from batchline.clock import Clock
from batchline.metrics import Metrics
from batchline.settings import Settings
from dashboard.app import add_dashboard
from gateway.app import create_app
from gateway.connections.bound import Limits
from gateway.connections.connection import Runner
from gateway.openapi import DOCUMENT

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(PROGRAM is None, reason="needs chromium (make test installs it)"),
]

LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}\n'
EVERY_NAME_IS_HERE = "--host-resolver-rules=MAP *.test 127.0.0.1"

PAGE = """<!doctype html><title>evil</title><script>
const results = {};
async function attempt(name, url, options) {
  try {
    const answer = await fetch(url, options);
    results[name] = answer.type === 'opaque' ? 'not told' : String(answer.status);
  } catch { results[name] = 'kept from it'; }
}
function submit(name, url, {enctype = 'application/x-www-form-urlencoded', file, sandbox} = {}) {
  return new Promise((resolve) => {
    const frame = document.createElement('iframe');
    const form = `<form method=post enctype="${enctype}" action="${url}">
      <input name=purpose value=batch>${file ? '<input type=file name=file>' : ''}</form>`;
    const script = `<script>
      const chosen = document.querySelector('input[type=file]');
      if (chosen) {
        const given = new DataTransfer();
        given.items.add(new File([${JSON.stringify(file || '')}], 'a.jsonl'));
        chosen.files = given.files;
      }
      onload = () => setTimeout(() => document.forms[0].submit());  // a load of its own, counted below
    </` + 'script>';
    if (sandbox) frame.sandbox = 'allow-forms allow-scripts';
    let loads = 0;
    frame.onload = () => { loads += 1; if (loads === 2) resolve(); };
    frame.srcdoc = form + script;
    document.body.append(frame);
  });
}
async function attack(base, batch, line) {
  const upload = () => {
    const form = new FormData();
    form.append('purpose', 'batch');
    form.append('file', new File([line], 'a.jsonl'));
    return form;
  };
  const create = JSON.stringify({input_file_id: batch.input_file_id,
    endpoint: '/v1/chat/completions', completion_window: '24h'});
  const key = {'Authorization': 'Bearer any', 'Content-Type': 'application/json'};
  const files = base + '/v1/files', batches = base + '/v1/batches';
  const cancel = `${batches}/${batch.id}/cancel`;
  const quietly = {method: 'POST', mode: 'no-cors'};
  await attempt('upload', files, {...quietly, body: upload()});
  await attempt('create', batches, {...quietly, body: create});
  await attempt('cancel', cancel, quietly);
  await attempt('chat', base + '/v1/chat/completions', {...quietly, body: '{}'});
  await attempt('create openly', batches, {method: 'POST', body: create, headers: key});
  await attempt('delete', files + '/' + batch.input_file_id, {method: 'DELETE'});
  await attempt('read', files, {});
  await attempt('read with a key', batches, {headers: {'Authorization': 'Bearer any'}});
  await attempt('embed', base + '/openapi.json', {mode: 'no-cors'});
  await submit('form upload', files, {enctype: 'multipart/form-data', file: line});
  await submit('form create', batches, {enctype: 'text/plain'});
  await submit('form cancel', cancel);
  await submit('sandboxed cancel', cancel, {sandbox: true});
  window.done = results;
}
</script>"""


@dataclass
class Site:
    """The gateway, and what it answered."""

    server: TestServer
    answers: list

    @property
    def url(self):
        return f"http://localhost:{self.server.port}"

    async def call(self, method, path, **kwargs):
        async with (
            aiohttp.ClientSession() as client,
            client.request(method, self.url + path, **kwargs) as answer,
        ):
            return await answer.json()

    async def batch(self):
        """Upload a file and create a batch of it, as a program does."""
        form = aiohttp.FormData({"purpose": "batch"})
        form.add_field("file", LINE, filename="a.jsonl")
        file = await self.call("POST", "/v1/files", data=form)
        body = {
            "input_file_id": file["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        return await self.call("POST", "/v1/batches", json=body)

    async def kept(self):
        """Return how many files and batches there are, and the status of each batch."""
        files = (await self.call("GET", "/v1/files"))["data"]
        batches = (await self.call("GET", "/v1/batches"))["data"]
        return len(files), [batch["status"] for batch in batches]

    def statuses(self, method):
        return {status for seen, _, status in self.answers if seen == method}


class _Server(TestServer):
    """Listens as the gateway itself does."""

    async def _make_runner(self, **_):
        return Runner(self.app, limits=Limits(), access_log=None, shutdown_timeout=0.1)


@pytest.fixture
def serve(store, blobs, tmp_path):
    """Run a gateway with a dashboard, and these settings."""

    @asynccontextmanager
    async def begin(**settings):
        metrics = Metrics()
        app = create_app(
            settings=Settings(_env_file=None, data_dir=tmp_path, **settings),
            store=store,
            blobs=blobs,
            metrics=metrics,
            clock=Clock(),
        )
        add_dashboard(
            app,
            view=store,
            metrics=metrics,
            blobs=blobs,
            clock=time.time,
            document=lambda: app[DOCUMENT].tree,
        )
        answers = []

        async def note(request, response):
            answers.append((request.method, request.path, response.status))

        app.on_response_prepare.append(note)
        async with _Server(app) as server:
            yield Site(server, answers)

    return begin


@pytest.fixture
async def evil():
    """A site of somebody else; yield its origin."""

    async def page(_):
        return web.Response(text=PAGE, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", page)
    async with TestServer(app) as server:
        yield f"http://evil.test:{server.port}"


@pytest.fixture
async def page():
    async with open_page(EVERY_NAME_IS_HERE) as opened:
        yield opened


async def attack(page, site, evil, batch):
    """Let the page try everything; return what it was told."""
    before = len(site.answers)
    await page.go(f"{evil}/")
    given = ", ".join(json.dumps(value) for value in (site.url, batch, LINE.decode()))
    await page.evaluate(f"void attack({given})")
    await page.until("window.done !== undefined")
    del site.answers[:before]
    return await page.evaluate("window.done")


async def test_a_foreign_page_changes_nothing_and_reads_nothing(page, serve, evil):
    """Scripts, forms and sandboxed frames: what a browser sends without asking, and what it asks for."""
    async with serve() as site:
        batch = await site.batch()
        before = await site.kept()

        told = await attack(page, site, evil, batch)

        assert site.statuses("POST") == {403}
        assert len([method for method, *_ in site.answers if method == "POST"]) == 8
        assert site.statuses("DELETE") == set()
        assert site.statuses("OPTIONS") <= {404, 405}
        assert set(told.values()) == {"kept from it"}
        assert await site.kept() == before


async def test_a_page_that_the_operator_named_may_use_the_api(page, serve, evil):
    """The same page: so what kept it out above was its origin alone."""
    async with serve(allowed_origins=(evil,)) as site:
        batch = await site.batch()

        told = await attack(page, site, evil, batch)

        assert told["create openly"] == told["read"] == told["read with a key"] == "200"
        assert site.statuses("OPTIONS") == {204}
        files, statuses = await site.kept()
        assert files == 2, "two uploaded, the first one deleted"
        assert len(statuses) == 3
        assert {"cancelling", "cancelled"} & set(statuses)


READ = "fetch('/v1/files').then((answer) => { window.read = answer.status; })"


async def test_a_name_bound_anew_to_this_machine_reads_nothing(page, serve):
    """To the browser the page is of the gateway's own origin, so that it may read all answers."""
    async with serve() as site:
        await page.go(f"http://evil.test:{site.server.port}/")
        text = await page.evaluate("document.body.innerText")
        await page.evaluate(f"void {READ}")
        await page.until("window.read !== undefined")

        assert "BATCHLINE_ALLOWED_HOSTS" in text
        assert await page.evaluate("window.read") == 421
        assert {status for *_, status in site.answers} == {421}


async def test_a_name_that_the_operator_gave_reads_as_localhost_does(page, serve):
    """So what kept it out above was its name alone."""
    async with serve(allowed_hosts=("evil.test",)) as site:
        await page.go(f"http://evil.test:{site.server.port}/")
        await page.evaluate(f"void {READ}")
        await page.until("window.read !== undefined")

        assert await page.evaluate("window.read") == 200


async def test_the_dashboard_works_under_its_own_policies(page, serve):
    """No header keeps its stream, its styles or its icon from it."""
    async with serve() as site:
        await page.go(f"{site.url}/")
        await page.until("document.getElementById('live-clock').textContent !== ''")

        assert page.problems == [], json.dumps(page.problems)
        assert {status for *_, status in site.answers} == {200}
