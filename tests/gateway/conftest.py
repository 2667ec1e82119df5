"""A running gateway over a real store and real blobs, seen through the stock client and raw HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from claims import claim_one
from witness import Witness

from batchline.blobs.keys import result_key
from batchline.metrics import Metrics
from batchline.model import (
    BackendStatus,
    File,
    FleetReport,
    Outcome,
    SegmentRef,
    Settlement,
    Slice,
    Usage,
)
from batchline.settings import Settings
from batchline.states import BatchStatus, OutcomeKind
from gateway.app import add_pages, create_app
from gateway.connections.bound import Limits
from gateway.connections.connection import Runner

LIMITS = Limits()
LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}\n'


@dataclass
class Gateway:
    """One running gateway and what lies behind it."""

    url: str
    app: object
    http: aiohttp.ClientSession
    store: object
    blobs: object
    clock: object
    metrics: Metrics
    folder: Path

    @property
    def address(self):
        """Return host and port, for raw sockets."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        return host, int(port)

    @cached_property
    def client(self):
        """The stock client; made on first use, since that takes a while."""
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="any", max_retries=0)

    async def call(self, method, path, **kwargs):
        """Send one raw request; return status, headers, body bytes and (if JSON) the decoded body."""
        async with self.http.request(method, self.url + path, **kwargs) as response:
            body = await response.read()
            decoded = (
                json.loads(body) if response.content_type == "application/json" and body else None
            )
            return SimpleNamespace(
                status=response.status, headers=response.headers, body=body, json=decoded
            )

    async def upload(self, content=LINE, name="lines.jsonl", purpose="batch", **fields):
        return await self.client.files.create(file=(name, content), purpose=purpose, **fields)

    async def create_batch(self, **fields):
        given = {
            "input_file_id": fields.pop("input_file_id", None) or (await self.upload()).id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        return await self.client.batches.create(**given | fields)

    def stored(self):
        """Return every file below the blobs' folder."""
        return [p for p in self.folder.joinpath("blobs").rglob("*") if p.is_file()]

    async def report(self, **backend):
        """Let the dispatcher report one backend, alive unless told otherwise."""
        status = {
            "name": "gpu-0",
            "url": "http://127.0.0.1:8001",
            "alive": True,
            "since": 1_700_000_000,
            "models": ("m", "org/n"),
        } | backend
        await self.store.report(
            FleetReport(at=int(self.clock()), backends=[BackendStatus(**status)])
        )

    async def run(self, batch_id, *kinds, until=None, left=0):
        """Play the dispatcher: admit one line per kind and those `left`, settle the former, and publish unless told."""
        now = int(self.clock())
        batch = await self.store.get_batch(batch_id)
        slices = [
            Slice(batch.seq, 0, len(kinds), 0, 10),
            Slice(batch.seq, len(kinds), left, 10, 10),
        ]
        await self.store.add_slices(slices if left else slices[:1])
        await self.store.accept(batch, total=len(kinds) + left, model="m", now=now)
        if until == BatchStatus.IN_PROGRESS:
            return
        claim = await claim_one(self.store, batch, slices=1, holder="t", ttl_s=30)
        outcomes = [
            Outcome(
                i, kind, b"{}\n", Usage(5, 1, 3, 2, 8) if kind == OutcomeKind.SUCCEEDED else Usage()
            )
            for i, kind in enumerate(kinds)
        ]
        groups = [(claim.leases[0], outcomes)]
        await self.store.settle(
            [Settlement(batch.seq, SegmentRef("segments/x", 0, 10), groups)], now=now
        )
        if left or until == BatchStatus.FINALIZING:
            return
        await self.close(batch_id, BatchStatus.COMPLETED, kinds)

    async def close(self, batch_id, end, kinds=()):
        """Publish the result files that the outcomes call for."""
        batch = await self.store.get_batch(batch_id)
        output = await self.result(batch, "output") if OutcomeKind.SUCCEEDED in kinds else None
        error = await self.result(batch, "error") if OutcomeKind.FAILED in kinds else None
        await self.store.close(batch, end, output=output, error=error, now=int(self.clock()))

    async def result(self, batch, kind):
        writer = self.blobs.create(result_key(batch.id, kind))
        await writer.write(f'{{"kind":"{kind}"}}\n'.encode())
        await writer.commit()
        return File(
            id=f"file-{kind}{batch.seq}",
            bytes=writer.size_bytes,
            created_at=int(self.clock()),
            expires_at=None,
            filename=f"{batch.id}_{kind}.jsonl",
            purpose="batch_output",
            blob_key=result_key(batch.id, kind),
        )


class _Server(TestServer):
    """Listens as the gateway itself does: with its own protocol layer."""

    def __init__(self, app, limits):
        super().__init__(app)
        self._limits = limits

    async def _make_runner(self, **_):
        return Runner(self.app, limits=self._limits, access_log=None, shutdown_timeout=0.1)


@pytest.fixture
def start(store, blobs, clock, tmp_path):
    """Start gateways with given settings over the one store."""
    started = []

    async def begin(
        *,
        with_store=store,
        with_blobs=blobs,
        with_pages=False,
        limits=LIMITS,
        patience=None,
        **settings,
    ):
        metrics = Metrics()
        app = create_app(
            settings=Settings(data_dir=tmp_path, **settings),
            store=with_store,
            blobs=with_blobs,
            metrics=metrics,
            clock=clock,
            patience=patience,
        )
        if with_pages:
            add_pages(app, view=with_store)
        witness = Witness(app)
        server = _Server(app, limits)
        await server.start_server()
        url = str(server.make_url("/")).rstrip("/")
        gateway = Gateway(
            url=url,
            app=app,
            http=aiohttp.ClientSession(),
            store=with_store,
            blobs=with_blobs,
            clock=clock,
            metrics=metrics,
            folder=tmp_path,
        )
        started.append((gateway, server, witness))
        return gateway

    begin.started = started
    return begin


@pytest.fixture
async def starts(start) -> AsyncIterator:
    """`start`, with everything it started closed at the end."""
    yield start
    for gateway, server, _ in start.started:
        if "client" in vars(gateway):
            await gateway.client.close()
        await gateway.http.close()
        await server.close()
    assert [fault for _, _, witness in start.started for fault in witness.faults] == []


@pytest.fixture
async def gateway(starts) -> Gateway:
    """A gateway with default settings."""
    return await starts()


class Receiver:
    """Whom events are sent to: notes each request, and answers with `status` while `is_open`."""

    def __init__(self):
        self.url = None
        self.taken = []
        self.status = 200
        self.is_open = asyncio.Event()
        self.is_open.set()

    async def take(self, request):
        body = await request.read()
        self.taken.append(SimpleNamespace(path=request.path, body=body, headers=request.headers))
        await self.is_open.wait()
        return web.Response(status=self.status, headers={"Location": "/elsewhere"})


@pytest.fixture
async def receiver():
    """A real server on a loopback address, to which `telling` may send."""
    made = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.take)
    async with TestServer(app) as server:
        made.url = str(server.make_url("/hook"))
        yield made


@pytest.fixture
async def telling(starts) -> Gateway:
    """A gateway that may send to loopback addresses, and has a secret of its own."""
    secret = "whsec_" + "c2VjcmV0" * 5
    return await starts(webhook_networks="127.0.0.0/8", webhook_secret=secret)
