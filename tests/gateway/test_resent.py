"""A create that the openai client sends again by itself, since it lost the answer, makes no second batch."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import asynccontextmanager, closing

import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from waiting import until

from batchline.store import open_store
from gateway.idempotency.by_retry import CREATING

REPLAYED = "x-batchline-replayed"


async def body_for(gateway, **changes):
    return {
        "input_file_id": (await gateway.upload()).id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"name": "nightly"},
    } | changes


async def post(gateway, body, retry=0, **headers):
    """Create as an openai client does; `retry` None: as any other does."""
    sent = {"Content-Type": "application/json", "User-Agent": "OpenAI/Python 3.52.0"}
    if retry is not None:
        sent["x-stainless-retry-count"] = str(retry)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await gateway.call("POST", "/v1/batches", data=data, headers=sent | headers)


async def count(gateway):
    return len((await gateway.call("GET", "/v1/batches?limit=100")).json["data"])


@asynccontextmanager
async def losing(gateway, answers):
    """A way to the gateway that loses its first answers to POST /v1/batches."""
    seen = []

    async def forward(request):
        body = await request.read()
        headers = {k: v for k, v in request.headers.items() if k not in {"Host", "Accept-Encoding"}}
        answer = await gateway.call(request.method, request.path_qs, data=body, headers=headers)
        if request.method == "POST" and request.path == "/v1/batches":
            seen.append(answer)
            if len(seen) <= answers:
                request.transport.abort()
        kept = {k: v for k, v in answer.headers.items() if k in {"Content-Type", REPLAYED}}
        return web.Response(status=answer.status, body=answer.body, headers=kept)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", forward)
    async with TestServer(app) as server:
        client = openai.AsyncOpenAI(base_url=f"{server.make_url('/v1')}", api_key="any")
        async with client:
            yield client, seen


@pytest.mark.spec("beyond-resent")
@pytest.mark.parametrize("lost", [1, 2])
async def test_the_stock_clients_own_retry_makes_no_second_batch(gateway, lost):
    """Whichever of its retries gets through."""
    body = await body_for(gateway)
    async with losing(gateway, lost) as (client, seen):
        batch = await client.batches.create(**body)

    assert len(seen) == lost + 1
    assert {answer.json["id"] for answer in seen} == {batch.id}
    assert [answer.headers.get(REPLAYED) for answer in seen] == [None] + ["true"] * lost
    assert await count(gateway) == 1


@pytest.mark.spec("beyond-resent")
async def test_two_creates_on_purpose_make_two_batches(gateway):
    """The stock client counts each from 0; a retry gets the newest."""
    body = await body_for(gateway)
    async with losing(gateway, 0) as (client, _):
        made = [(await client.batches.create(**body)).id for _ in range(2)]
    async with losing(gateway, 1) as (client, _):
        third = (await client.batches.create(**body)).id
    retried = await post(gateway, body, retry=1)

    assert len({*made, third}) == 3
    assert await count(gateway) == 4  # `post` is another client: nothing of it was lost
    assert retried.headers.get(REPLAYED) is None


async def test_a_retry_gets_the_newest_that_is_alike(gateway):
    """Of two that were made on purpose."""
    body = await body_for(gateway)
    first, second = [(await post(gateway, body)).json["id"] for _ in range(2)]

    again = await post(gateway, body, retry=1)

    assert first != again.json["id"] == second
    assert again.headers[REPLAYED] == "true"


@pytest.mark.parametrize(
    ("change", "headers"),
    [
        ({"metadata": {"name": "daily"}}, {}),
        ({"completion_window": "48h"}, {}),
        ({}, {"User-Agent": "OpenAI/Python 3.53.0"}),
        ({}, {"Authorization": "Bearer another"}),
    ],
    ids=["metadata", "window", "another client", "another key"],
)
async def test_another_body_or_client_makes_its_own_batch(gateway, change, headers):
    """Nobody is given the batch of somebody else."""
    body = await body_for(gateway)
    first = await post(gateway, body)

    other = await post(gateway, body | change, retry=1, **headers)

    assert other.json["id"] != first.json["id"]
    assert REPLAYED not in other.headers


async def test_a_retry_is_the_same_body_however_it_is_written(gateway):
    """Bodies are compared as JSON values."""
    body = await body_for(gateway)
    first = await post(gateway, body)
    turned = json.dumps(dict(reversed(body.items())), indent=3).encode()

    assert (await post(gateway, turned, retry=1)).json["id"] == first.json["id"]


@pytest.mark.parametrize("retry", [None, "0", "00", "-1", "x", "1.0", "", "٣", "9" * 50])
async def test_only_a_count_is_a_retry(gateway, retry):
    """Anything else makes a batch, as ever."""
    body = await body_for(gateway)
    made = [(await post(gateway, body)).json["id"], (await post(gateway, body, retry)).json["id"]]

    assert len(set(made)) == 2


async def test_a_retry_is_one_for_two_minutes(gateway):
    """A second before it still is."""
    body = await body_for(gateway)
    first = (await post(gateway, body)).json["id"]
    gateway.clock.advance(119)
    kept = (await post(gateway, body, retry=1)).json["id"]
    gateway.clock.advance(1)
    fresh = (await post(gateway, body, retry=2)).json["id"]
    again = (await post(gateway, body, retry=3)).json["id"]

    assert kept == first
    assert first != fresh == again


async def test_a_retry_finds_the_batch_as_it_is_now(gateway):
    """Cancelled, its input gone: still the batch, not an error. Deleted: a new one."""
    body = await body_for(gateway)
    first = (await post(gateway, body)).json["id"]
    batch = await gateway.store.get_batch(first)
    assert await gateway.store.reject(batch, [], now=int(gateway.clock()))
    again = await post(gateway, body, retry=1)
    await gateway.call("DELETE", f"/v1/batches/{first}")

    refused = await post(gateway, body, retry=2)

    assert (again.json["id"], again.json["status"]) == (first, "failed")
    assert refused.status == 400  # the input went with its batch
    assert await count(gateway) == 0


async def test_a_retry_waits_for_the_attempt_that_is_under_way(starts, tmp_path, clock):
    """The first one's row is not yet written when the retry arrives: one batch all the same."""
    path = tmp_path / "slow.sqlite3"
    async with open_store(path, clock_ms=clock.ms) as store:
        gateway = await starts(with_store=store)
        body = await body_for(gateway)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            first = asyncio.create_task(post(gateway, body))
            await until(lambda: gateway.app[CREATING]._locks)
            retries = [asyncio.create_task(post(gateway, body, retry=n)) for n in (1, 2)]
            done, _ = await asyncio.wait([first, *retries], timeout=0.2)
            assert not done
            other.execute("ROLLBACK")
        answers = await asyncio.gather(first, *retries)

        assert {a.json["id"] for a in answers} == {answers[0].json["id"]}
        assert [a.headers.get(REPLAYED) for a in answers] == [None, "true", "true"]
        assert await count(gateway) == 1
        assert not gateway.app[CREATING]._locks


async def test_a_retry_is_one_after_a_restart_of_the_gateway(starts, tmp_path, clock):
    """Another gateway over the same data knows what the first one made."""
    path = tmp_path / "again.sqlite3"
    async with open_store(path, clock_ms=clock.ms) as store:
        gateway = await starts(with_store=store)
        body = await body_for(gateway)
        first = await post(gateway, body)
    async with open_store(path, clock_ms=clock.ms) as store:
        gateway = await starts(with_store=store)
        again = await post(gateway, body, retry=1)

    assert (again.json, again.headers[REPLAYED]) == (first.json, "true")


async def test_a_body_that_cannot_be_compared_makes_a_batch(gateway):
    """Deep nesting in unknown fields is no reason to refuse it."""
    body = json.dumps(await body_for(gateway)).encode()[:-1] + b', "x": ' + b"[" * 990 + b"]" * 990

    answers = [await post(gateway, body + b"}", retry=n) for n in (0, 1)]

    assert {a.status for a in answers} <= {200, 400}
