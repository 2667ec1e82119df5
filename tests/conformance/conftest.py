"""The whole service, as clients meet it: gateway and dispatcher over a scripted upstream, real time."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from functools import cached_property, partial
from types import SimpleNamespace

import aiohttp
import openai
import pytest
from inputs import requests
from ports import free_port
from scripted import Scripted
from waiting import until

import dispatcher.app
import gateway.app
from batchline.settings import Settings
from dispatcher.upkeep.housekeeping import Rests

FAST = {
    "min_completion_window_s": 1,
    "max_in_flight": 16,
    "retry_base_s": 0.005,
    "retry_max_s": 0.02,
    "flush_s": 0.005,
    "probe_interval_s": 0.05,
    "grace_s": 1,
    "lease_s": 5,
}
TERMINAL = {"completed", "failed", "expired", "cancelled"}
_PATIENCE_S = 60
EAGER = Rests(deadlines_s=0.1, sweep_s=0.2)


class Upstream(Scripted):
    """The scripted upstream, which also notes the path of each request."""

    def __init__(self):
        super().__init__()
        self.paths = []

    async def _answer(self, request):
        self.paths.append(request.path)
        return await super()._answer(request)


class Api:
    """One gateway at `url`; a dispatcher runs only inside `dispatching()`."""

    def __init__(self, url, http, upstream, settings):
        self.url, self.http, self.upstream, self.settings = url, http, upstream, settings

    @cached_property
    def client(self):
        """The stock client."""
        key = self.settings.api_key or "any"
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    @asynccontextmanager
    async def dispatching(self, **changes):
        """Run the dispatcher while the body runs; it looks around more often than it would."""
        serve = partial(dispatcher.app.serve, rests=EAGER, look_s=0.02)
        async with serving(serve, self.settings.model_copy(update=changes)):
            yield

    async def call(self, method, path, **kwargs):
        """Send one raw request; return status, headers, body bytes and (if JSON) the decoded body."""
        async with self.http.request(method, self.url + path, **kwargs) as response:
            body = await response.read()
            is_json = response.content_type == "application/json" and body
            return SimpleNamespace(
                status=response.status,
                headers=response.headers,
                body=body,
                json=json.loads(body) if is_json else None,
            )

    async def post(self, path, **body):
        return await self.call("POST", path, json=body)

    async def upload(self, content=None, name="lines.jsonl", purpose="batch", **fields):
        content = requests(1) if content is None else content
        return await self.client.files.create(file=(name, content), purpose=purpose, **fields)

    async def store(self, content):
        """Upload a batch's input without the stock client, which takes a while to make."""
        form = aiohttp.FormData({"purpose": "batch"})
        form.add_field("file", content, filename="lines.jsonl")
        return (await self.call("POST", "/v1/files", data=form)).json["id"]

    async def create(self, content=None, **fields):
        """Upload the content (or a number of lines), create a batch; return its JSON."""
        content = requests(content or 1) if isinstance(content, int | None) else content
        file_id = fields.pop("input_file_id", None) or await self.store(content)
        given = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        answer = await self.call("POST", "/v1/batches", json=given | fields)
        assert answer.status == 200, answer.json
        return answer.json

    async def show(self, batch):
        return (await self.call("GET", f"/v1/batches/{batch['id']}")).json

    async def cancel(self, batch):
        return await self.call(
            "POST",
            f"/v1/batches/{batch['id']}/cancel",
            headers={"Content-Type": "application/json"},
        )

    async def watch(self, batch):
        """Ask again and again until the batch has ended; return every answer."""
        seen = [await self.show(batch)]

        async def has_ended():
            if seen[-1]["status"] not in TERMINAL:
                seen.append(await self.show(batch))
            return seen[-1]["status"] in TERMINAL

        await until(has_ended, within_s=_PATIENCE_S, every_s=0.002, saw=lambda: seen[-1])
        return seen

    async def ended(self, batch):
        """Wait until the batch has ended; return its JSON."""
        return (await self.watch(batch))[-1]

    async def shows(self, batch, status):
        """Wait until the batch has this status."""

        async def has():
            return (await self.show(batch))["status"] == status

        await until(has)

    async def raw(self, file_id):
        """Return the bytes of a file; none where there is no file."""
        if file_id is None:
            return b""
        answer = await self.call("GET", f"/v1/files/{file_id}/content")
        assert answer.status == 200
        return answer.body

    async def results(self, batch):
        """Return (output lines, error lines) of an ended batch."""
        raw = [await self.raw(batch[f"{kind}_file_id"]) for kind in ("output", "error")]
        return tuple([json.loads(line) for line in text.splitlines()] for text in raw)


@asynccontextmanager
async def serving(serve, settings):
    """Run one of the two services in this process while the body runs; fail if it ends by itself."""
    stop = asyncio.Event()
    task = asyncio.create_task(serve(settings, stop))
    task.add_done_callback(lambda _: stop.set())
    try:
        yield task
    finally:
        stop.set()
        await task


@pytest.fixture
async def upstream():
    async with Upstream() as server:
        yield server


@pytest.fixture
def open_api(tmp_path, upstream):
    """Start a gateway with the given settings."""

    @asynccontextmanager
    async def begin(**changes):
        settings = Settings(
            data_dir=tmp_path,
            port=free_port(),
            dispatcher_port=0,
            upstream_url=upstream.url,
            **(FAST | changes),
            _env_file=None,
        )
        async with aiohttp.ClientSession() as http, serving(gateway.app.serve, settings) as task:
            api = Api(f"http://127.0.0.1:{settings.port}", http, upstream, settings)
            await until(lambda: _listens(api, task))
            try:
                yield api
            finally:
                await api.client.close()

    return begin


async def _listens(api, task):
    if task.done():
        task.result()
    try:
        return (await api.call("GET", "/health")).status == 200
    except aiohttp.ClientConnectionError:
        return False


@pytest.fixture
async def api(open_api):
    """A gateway with default limits; no dispatcher yet."""
    async with open_api() as opened:
        yield opened
