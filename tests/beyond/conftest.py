"""A gateway and a dispatcher in this process over one data directory and a scripted upstream."""

from __future__ import annotations

import json
from contextlib import closing
from types import SimpleNamespace

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from bench import Bench, opened
from scripted import Scripted
from waiting import until

from batchline.blobs import open_blobs
from batchline.clock import Clock
from batchline.metrics import Metrics
from batchline.settings import Settings
from gateway.app import create_app
from gateway.keys import Patience


class House(Bench):
    """What a test drives: the gateway by HTTP, the dispatcher by running it, the upstream by script."""

    def __init__(self, folder, upstream, store, blobs, http, server):
        super().__init__(store, blobs, folder, upstream)
        self.http, self.server = http, server
        self.url = str(server.make_url("/v1"))

    async def call(self, method, path, **kwargs):
        """Send one request; return status, headers, body and (if JSON) the decoded body."""
        async with self.http.request(method, self.url + path, **kwargs) as response:
            body = await response.read()
            decoded = json.loads(body) if response.content_type == "application/json" else None
            return SimpleNamespace(
                status=response.status, headers=response.headers, body=body, json=decoded
            )

    async def show(self, batch):
        return (await self.call("GET", f"/batches/{batch.id}")).json

    async def reached(self, batch, condition, within_s=60):
        """Wait until the batch object (as stored) meets the condition; return it."""

        async def found():
            batch_now = await self.store.get_batch(batch.id)
            return batch_now if condition(batch_now) else None

        return await until(found, within_s=within_s)

    async def finished(self, batch, count):
        return await self.reached(batch, lambda b: b.counts.finished >= count)

    async def content(self, file_id):
        return (await self.call("GET", f"/files/{file_id}/content")).body if file_id else b""


@pytest.fixture
async def upstream():
    async with Scripted() as server:
        yield server


@pytest.fixture
def patience():
    """How long the gateway waits for others; a test may give another one."""
    return Patience()


@pytest.fixture
async def house(tmp_path, upstream, patience):
    async with opened(tmp_path) as store:
        with closing(open_blobs(tmp_path / "blobs")) as blobs:
            app = create_app(
                settings=Settings(data_dir=tmp_path, _env_file=None),
                store=store,
                blobs=blobs,
                metrics=Metrics(),
                clock=Clock(),
                patience=patience,
            )
            async with TestServer(app) as server, aiohttp.ClientSession() as http:
                yield House(tmp_path, upstream, store, blobs, http, server)
