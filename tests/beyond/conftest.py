"""A gateway and a dispatcher in this process over one data directory and a scripted upstream."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from scripted import Scripted

from batchline.blobs import open_blobs
from batchline.blobs.keys import file_key
from batchline.metrics import Metrics
from batchline.model import File, NewBatch, new_batch_id, new_file_id
from batchline.settings import Settings
from batchline.states import TERMINAL
from batchline.store import open_store
from dispatcher.app import Dispatcher
from dispatcher.probe import Probe
from dispatcher.upstream import Upstream
from gateway.app import create_app

FAST = {
    "max_in_flight": 16,
    "retry_base_s": 0.005,
    "retry_max_s": 0.02,
    "flush_s": 0.005,
    "probe_interval_s": 0.05,
    "grace_s": 0.2,
    "lease_s": 5,
}


def request_line(index, **body):
    """One line of an input file; its body's `tag` names it to the upstream."""
    body = {"model": "m", "messages": [], "tag": f"t{index}"} | body
    whole = {
        "custom_id": f"id-{index}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }
    return json.dumps(whole)


class House:
    """What a test drives: the gateway by HTTP, the dispatcher by running it, the upstream by script."""

    def __init__(self, folder, upstream, store, http, server):
        self.folder, self.upstream, self.store = folder, upstream, store
        self.http, self.server = http, server
        self.url = str(server.make_url("/v1"))
        self.blobs = open_blobs(folder / "blobs")

    async def call(self, method, path, **kwargs):
        """Send one request; return status, headers, body and (if JSON) the decoded body."""
        async with self.http.request(method, self.url + path, **kwargs) as response:
            body = await response.read()
            decoded = json.loads(body) if response.content_type == "application/json" else None
            return SimpleNamespace(
                status=response.status, headers=response.headers, body=body, json=decoded
            )

    async def submit(self, content, *, expires_in_s=86400, **fields):
        """Store a file and create a batch over it; a number means that many plain lines."""
        if isinstance(content, int):
            content = "\n".join(request_line(i) for i in range(content))
        data = content.encode() if isinstance(content, str) else content
        file_id, now = new_file_id(), int(time.time())
        writer = self.blobs.create(file_key(file_id))
        await writer.write(data)
        await writer.commit()
        await self.store.add_file(
            File(file_id, len(data), now, None, "in.jsonl", "batch", file_key(file_id))
        )
        return await self.store.add_batch(
            NewBatch(
                id=new_batch_id(),
                endpoint="/v1/chat/completions",
                input_file_id=file_id,
                input_key=file_key(file_id),
                completion_window="24h",
                created_at=now,
                expires_at=now + expires_in_s,
                **fields,
            )
        )

    @asynccontextmanager
    async def dispatching(self, **settings):
        """Run a dispatcher with its own store while the body runs; then stop it gracefully."""
        values = Settings(
            data_dir=self.folder,
            upstream_url=self.upstream.url,
            **(FAST | settings),
            _env_file=None,
        )
        stop = asyncio.Event()
        async with (
            open_store(self.folder / "batchline.sqlite3", clock_ms=_clock_ms) as store,
            Upstream(self.upstream.url, api_key=None, timeout_s=60) as upstream,
            Probe([self.upstream.url], api_key=None, clock=time.time) as probe,
        ):
            blobs = open_blobs(self.folder / "blobs")
            worker = Dispatcher(values, store, blobs, upstream, probe, metrics=Metrics())
            task = asyncio.ensure_future(worker.run(stop))
            try:
                yield worker
            finally:
                stop.set()
                await task

    async def show(self, batch):
        return (await self.call("GET", f"/batches/{batch.id}")).json

    async def until(self, batch, condition, within_s=30):
        """Wait until the batch object (as stored) meets the condition; return it."""
        async with asyncio.timeout(within_s):
            while not condition(found := await self.store.get_batch(batch.id)):
                await asyncio.sleep(0.01)
        return found

    async def ended(self, batch, within_s=60):
        return await self.until(batch, lambda b: b.status in TERMINAL, within_s)

    async def finished(self, batch, count):
        return await self.until(batch, lambda b: b.counts.finished >= count)

    async def content(self, file_id):
        return (await self.call("GET", f"/files/{file_id}/content")).body if file_id else b""


def _clock_ms():
    return int(time.time() * 1000)


@pytest.fixture
async def upstream():
    async with Scripted() as server:
        yield server


@pytest.fixture
async def house(tmp_path, upstream):
    async with open_store(tmp_path / "batchline.sqlite3", clock_ms=_clock_ms) as store:
        app = create_app(
            settings=Settings(data_dir=tmp_path, _env_file=None),
            store=store,
            blobs=open_blobs(tmp_path / "blobs"),
            metrics=Metrics(),
            clock=time.time,
        )
        async with TestServer(app) as server, aiohttp.ClientSession() as http:
            yield House(tmp_path, upstream, store, http, server)
