"""`Idempotency-Key` on `POST /v1/batches`: one key, one batch."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest

from batchline.model import NewBatch, UsedKey
from batchline.states import BatchStatus, OutcomeKind
from batchline.store import open_store
from gateway.idempotency.by_key import body_digest

KEY = "Idempotency-Key"
DAY_S = 86400


async def body_for(gateway, **changes):
    return {
        "input_file_id": (await gateway.upload()).id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": {"name": "nightly"},
    } | changes


async def post(gateway, body, key="nightly-1"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", KEY: key}
    return await gateway.call("POST", "/v1/batches", data=data, headers=headers)


async def count(gateway):
    return len((await gateway.call("GET", "/v1/batches?limit=100")).json["data"])


@pytest.mark.spec("beyond-idempotency-same")
async def test_a_repeated_request_gets_the_same_batch_as_it_is_now(gateway):
    """Sent again after the batch has ended and its input was deleted: the batch, not an error."""
    body = await body_for(gateway)
    first = await post(gateway, body)
    await gateway.run(first.json["id"], OutcomeKind.SUCCEEDED)
    await gateway.client.files.delete(body["input_file_id"])

    again = await post(gateway, body)

    assert (first.status, again.status) == (200, 200)
    assert again.json["id"] == first.json["id"]
    assert again.json["status"] == BatchStatus.COMPLETED
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await count(gateway) == 1


async def test_spaces_and_the_order_of_keys_make_no_other_body(gateway):
    """Bodies are compared as JSON values."""
    body = await body_for(gateway)
    first = await post(gateway, body)
    turned = json.dumps(dict(reversed(body.items())), indent=3).encode()

    assert (await post(gateway, turned)).json["id"] == first.json["id"]


@pytest.mark.spec("beyond-idempotency-other")
@pytest.mark.parametrize(
    "change",
    [
        {"completion_window": "48h"},
        {"endpoint": "/v1/embeddings"},
        {"metadata": {"name": "daily"}},
        {"metadata": None},
        {"input_file_id": "file-unknown"},
        {"unknown": 1e300},
        {"unknown": 2**64 - 1},
    ],
    ids=str,
)
async def test_another_body_under_the_same_key_is_a_final_conflict(gateway, change):
    """409 names the key, its batch and the remedy; no batch is made."""
    body = await body_for(gateway)
    first = (await post(gateway, body)).json

    answer = await post(gateway, body | change)

    error = answer.json["error"]
    assert answer.status == 409
    assert answer.headers["x-should-retry"] == "false"
    assert error == {
        "message": f"The Idempotency-Key 'nightly-1' is in use: {first['id']} was created with another "
        f"body. Send that body again to get {first['id']}, or another key to create a new batch.",
        "type": "invalid_request_error",
        "param": KEY,
        "code": "idempotency_key_reused",
    }
    assert await count(gateway) == 1


@pytest.mark.spec("beyond-idempotency-same")
async def test_racing_requests_with_one_key_make_one_batch(gateway):
    """Twenty at once: all get the one batch, one of them made it."""
    body = await body_for(gateway)

    answers = await asyncio.gather(*(post(gateway, body) for _ in range(20)))

    assert {a.status for a in answers} == {200}
    assert len({a.json["id"] for a in answers}) == 1
    assert sum("Idempotent-Replayed" not in a.headers for a in answers) == 1
    assert await count(gateway) == 1


async def test_racing_requests_with_other_bodies_make_one_batch(gateway):
    """Whoever comes first has the key; the others are told so."""
    body = await body_for(gateway)
    bodies = [body | {"metadata": {"n": str(n)}} for n in range(10)]

    answers = await asyncio.gather(*(post(gateway, b) for b in bodies))

    assert sorted(a.status for a in answers) == [200] + [409] * 9
    assert await count(gateway) == 1


async def test_a_key_outlives_the_gateway(starts, tmp_path, clock):
    """Another gateway over the same data knows the key."""
    path = tmp_path / "again.sqlite3"
    async with open_store(path, clock_ms=clock.ms) as store:
        gateway = await starts(with_store=store)
        body = await body_for(gateway)
        first = await post(gateway, body)
    async with open_store(path, clock_ms=clock.ms) as store:
        gateway = await starts(with_store=store)
        again = await post(gateway, body)

        assert (await post(gateway, body | {"metadata": None})).status == 409
    assert again.json == first.json


async def test_a_key_is_kept_for_24_hours(gateway):
    """A second before it still stands; then it is free, and the old row is forgotten."""
    body = await body_for(gateway)
    first = (await post(gateway, body)).json["id"]
    gateway.clock.advance(DAY_S - 1)
    kept = (await post(gateway, body)).json["id"]
    gateway.clock.advance(1)
    fresh = (await post(gateway, body)).json["id"]

    assert kept == first
    assert fresh != first
    assert await count(gateway) == 2
    assert await gateway.store.used_key("nightly-1", now=0) is not None
    await post(gateway, body, key="other")
    gateway.clock.advance(DAY_S)
    await post(gateway, body, key="third")
    assert await gateway.store.used_key("other", now=0) is None


async def test_a_refused_request_does_not_use_up_its_key(gateway):
    """After a 400 the mended body goes through under the same key."""
    body = await body_for(gateway)

    refused = await post(gateway, body | {"input_file_id": "file-unknown"})
    bad = await post(gateway, body | {"endpoint": "/v1/x"})
    mended = await post(gateway, body)

    assert (refused.status, bad.status, mended.status) == (400, 400, 200)


async def test_requests_without_a_key_stay_independent(gateway):
    """The same body twice makes two batches, as at OpenAI; other keys do too."""
    body = await body_for(gateway)
    plain = [(await gateway.call("POST", "/v1/batches", json=body)).json["id"] for _ in range(2)]
    keyed = [(await post(gateway, body, key=key)).json["id"] for key in ("a", "A")]

    assert len({*plain, *keyed}) == 4


@pytest.mark.parametrize(
    "key", ["!", "~" * 255, '"quoted"', "8e03978e-40d5-43dd-bc93-6894a57f9324"]
)
async def test_keys_of_visible_ascii_are_taken(gateway, key):
    """1 to 255 characters."""
    assert (await post(gateway, await body_for(gateway), key=key)).status == 200


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "expected 1 to 255 characters, but got 0."),
        ("k" * 256, "expected 1 to 255 characters, but got 256."),
        ("two words", "expected visible ASCII characters only"),
        ("kľúč", "expected visible ASCII characters only"),
        ("tab\tinside", "expected visible ASCII characters only"),
    ],
    ids=["empty", "long", "space", "unicode", "tab"],
)
async def test_other_keys_are_refused(gateway, key, why):
    """400 names the header and the rule; no batch is made."""
    answer = await post(gateway, await body_for(gateway), key=key)

    error = answer.json["error"]
    assert (answer.status, error["param"], error["code"]) == (400, KEY, "invalid_value")
    assert why in error["message"]
    assert await count(gateway) == 0


async def test_a_header_sent_twice_is_refused(gateway):
    """Which of the two would count?"""
    answer = await gateway.call(
        "POST", "/v1/batches", json=await body_for(gateway), headers=[(KEY, "a"), (KEY, "b")]
    )

    assert answer.status == 400
    assert "it was sent 2 times" in answer.json["error"]["message"]


async def test_hostile_bodies_under_a_key_are_answered(gateway):
    """Endless integers and deep nesting in unknown fields break no comparison."""
    body = json.dumps(await body_for(gateway)).encode()[:-1]
    for number, value in enumerate([b"9" * 400, b"1" * 5000, b"[" * 900 + b"]" * 900]):
        data = body + b', "x": ' + value + b"}"
        answer = await post(gateway, data, key=str(number))
        assert answer.status in {200, 400}
        assert (await post(gateway, data, key=str(number))).json.get("id") == answer.json.get("id")


async def test_the_stock_client_sends_a_key_with_extra_headers(gateway):
    """As the documentation shows; a clash raises ConflictError and is not repeated."""
    file = await gateway.upload()
    given = {"input_file_id": file.id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    client = gateway.client.with_options(max_retries=2)
    batches = [await client.batches.create(**given, extra_headers={KEY: "sdk"}) for _ in range(2)]

    with pytest.raises(openai.ConflictError, match=batches[0].id):
        await client.batches.create(**given, metadata={"a": "b"}, extra_headers={KEY: "sdk"})

    assert batches[0].id == batches[1].id
    labels = {"route": "/v1/batches", "method": "POST", "code": "409"}
    sample = gateway.metrics.registry.get_sample_value("batchline_http_requests_total", labels)
    assert sample == 1


async def test_a_key_whose_batch_was_deleted_runs_nothing_again(gateway):
    """A late retry of a job that was deleted since is told so."""
    body = await body_for(gateway)
    used = UsedKey("k", body_digest(json.dumps(body).encode()), "batch_gone", 2**40)
    other = await gateway.store.get_batch((await gateway.create_batch()).id)
    new = NewBatch(
        "batch_other", other.endpoint, "file-x", "files/x", "24h", other.created_at, 2**40
    )
    await gateway.store.add_batch(new, key=used)

    answer = await post(gateway, body, key="k")

    assert (answer.status, answer.headers["x-should-retry"]) == (409, "false")
    assert "batch_gone was created with it and then deleted" in answer.json["error"]["message"]
