"""`/v1/webhook_endpoints` as the stock client manages them."""

from __future__ import annotations

import asyncio
import time

import openai
import pytest
from ports import free_port
from sdk_shapes import parse_strictly
from waiting import until

URL = "https://hooks.example.org/take?key=a%20b"
TYPES = ["batch.completed", "batch.failed", "batch.expired", "batch.cancelled"]
GOOD = {"name": "nightly", "url": URL, "event_types": ["batch.failed", "batch.completed"]}
FIELDS = [
    "id",
    "object",
    "created_at",
    "event_types",
    "name",
    "signing_secret_hint",
    "url",
    "updated_at",
]
LONG_AGO_S = 1 << 40  # the clock is moved


async def create(gateway, **fields):
    return await gateway.client.webhooks.create(**GOOD | fields)


def is_signed_by(gateway, secret, taken):
    """Ask the client, whatever the time."""
    try:
        gateway.client.webhooks.verify_signature(
            taken.body, taken.headers, secret=secret, tolerance=LONG_AGO_S
        )
    except openai.InvalidWebhookSignatureError:
        return False
    return True


@pytest.mark.spec("9-endpoint-object", "9-endpoint-secret")
async def test_a_new_endpoint_shows_its_secret_and_every_field(gateway):
    """The client's own type takes it strictly; the hint is the end of the secret."""
    answer = await gateway.call("POST", "/v1/webhook_endpoints", json=GOOD)
    now = int(gateway.clock())

    parsed = parse_strictly(answer.body, answer.json)
    secret = parsed.signing_secret
    assert answer.json == GOOD | {
        "id": parsed.id,
        "object": "webhook_endpoint",
        "created_at": now,
        "updated_at": now,
        "signing_secret": secret,
        "signing_secret_hint": f"whsec_…{secret[-4:]}",
    }
    assert parsed.id.startswith("whe_")
    assert secret.startswith("whsec_")
    assert len(secret) > 40


@pytest.mark.spec("9-endpoint-secret", "9-endpoint-calls")
async def test_no_later_answer_shows_the_secret(gateway):
    """Retrieve, list, update: the hint alone."""
    made = await create(gateway)
    path = f"/v1/webhook_endpoints/{made.id}"

    shown = await gateway.call("GET", path)
    listed = await gateway.call("GET", "/v1/webhook_endpoints")
    updated = await gateway.call("POST", path, json={"name": "other"})

    for answer in (shown, updated, listed):
        parse_strictly(answer.body, answer.json)
        assert made.signing_secret not in answer.body.decode()
    assert list(shown.json) == FIELDS
    assert listed.json["data"] == [shown.json]
    assert updated.json == shown.json | {"name": "other"}
    assert (await gateway.client.webhooks.retrieve(made.id)).model_dump() == updated.json


@pytest.mark.spec("9-endpoint-list")
async def test_endpoints_are_listed_newest_first_and_each_once(gateway):
    """However small the page."""
    made = [(await create(gateway, name=f"n{n}")).id for n in range(5)]

    walked = [one.id async for one in gateway.client.webhooks.list(limit=2)]
    page = await gateway.client.webhooks.list(limit=2, after=made[3])
    raw = await gateway.call("GET", "/v1/webhook_endpoints?limit=2")

    assert walked == made[::-1]
    assert [one.id for one in page.data] == [made[2], made[1]]
    assert (raw.json["first_id"], raw.json["last_id"]) == (made[4], made[3])
    assert raw.json["has_more"] is True


@pytest.mark.spec("9-endpoint-list")
async def test_a_page_has_20_endpoints_by_default(gateway):
    """As the client's documentation says."""
    for _ in range(21):
        await create(gateway)

    page = await gateway.client.webhooks.list()

    assert (len(page.data), page.has_more) == (20, True)


async def test_no_endpoints_are_an_empty_page(gateway):
    """And nothing follows it."""
    answer = await gateway.call("GET", "/v1/webhook_endpoints")

    assert answer.json == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@pytest.mark.spec("9-endpoint-calls", "9-endpoint-updated-at")
@pytest.mark.parametrize(
    "change",
    [{"name": "n" * 256}, {"url": "https://1.1.1.1/x"}, {"event_types": TYPES}],
    ids=lambda change: next(iter(change)),
)
async def test_an_update_changes_what_it_names(gateway, change):
    """The rest stays; `updated_at` moves."""
    made = await create(gateway)
    gateway.clock.advance(60)

    updated = await gateway.client.webhooks.update(made.id, **change)

    before = made.model_dump(exclude={"signing_secret"})
    assert updated.model_dump() == before | change | {"updated_at": made.created_at + 60}
    assert await gateway.client.webhooks.retrieve(made.id) == updated


@pytest.mark.spec("9-endpoint-updated-at")
@pytest.mark.parametrize("body", [b"", b"{}", b'{"name":"nightly"}', b'{"unknown":1}'])
async def test_an_update_that_changes_nothing_leaves_its_time(gateway, body):
    """As OpenAI says of `updated_at`."""
    made = await create(gateway)
    gateway.clock.advance(60)

    answer = await gateway.call("POST", f"/v1/webhook_endpoints/{made.id}", data=body)

    assert answer.json["updated_at"] == made.created_at


@pytest.mark.spec("9-endpoint-calls")
async def test_a_deleted_endpoint_is_gone(gateway):
    """Each call says so with its id."""
    made = await create(gateway)
    hooks = gateway.client.webhooks
    raw = await gateway.call("DELETE", f"/v1/webhook_endpoints/{made.id}")
    parse_strictly(raw.body, raw.json)
    assert raw.json == {"id": made.id, "object": "webhook_endpoint.deleted", "deleted": True}

    for call in (
        lambda: hooks.retrieve(made.id),
        lambda: hooks.update(made.id, name="x"),
        lambda: hooks.delete(made.id),
        lambda: hooks.rotate_secret(made.id),
        lambda: hooks.test(made.id, event_type="batch.failed"),
        lambda: hooks.list(after=made.id),
    ):
        with pytest.raises(openai.NotFoundError, match=made.id):
            await call()


@pytest.mark.spec("9-event-types")
async def test_the_types_of_events_are_those_of_batches(gateway):
    """The ends that a batch may come to."""
    raw = await gateway.call("GET", "/v1/webhook_event_types")

    parse_strictly(raw.body, raw.json)
    assert raw.json == {"object": "list", "data": TYPES}
    assert (await gateway.client.webhooks.event_types.list()).data == TYPES


async def test_there_are_at_most_100_endpoints(gateway):
    """One more is refused until one is deleted."""
    made = [await create(gateway) for _ in range(100)]

    with pytest.raises(openai.BadRequestError, match="100 webhook endpoints") as caught:
        await create(gateway)

    assert caught.value.code == "too_many_webhook_endpoints"
    await gateway.client.webhooks.delete(made[50].id)
    await create(gateway)


@pytest.mark.spec("9-test-event", "9-unwrap")
@pytest.mark.parametrize("kind", TYPES)
async def test_a_test_is_an_event_that_the_client_unwraps(telling, receiver, kind):
    """Signed with the secret of the endpoint, at this time; its batch never was."""
    telling.clock.at = time.time()
    made = await create(telling, url=receiver.url)

    raw = await telling.call(
        "POST", f"/v1/webhook_endpoints/{made.id}/test", json={"event_type": kind}
    )

    parse_strictly(raw.body, raw.json)
    assert raw.json == {
        "object": "webhook_endpoint.test",
        "webhook_endpoint_id": made.id,
        "event_type": kind,
        "status_code": 200,
        "success": True,
    }
    (taken,) = receiver.taken
    event = telling.client.webhooks.unwrap(taken.body, taken.headers, secret=made.signing_secret)
    assert (event.type, event.created_at) == (kind, int(telling.clock()))
    assert event.id == taken.headers["webhook-id"]
    assert event.id.startswith("evt_")
    with pytest.raises(openai.NotFoundError):
        await telling.client.batches.retrieve(event.data.id)


@pytest.mark.spec("9-test-event")
@pytest.mark.parametrize("status", [201, 302, 404, 500])
async def test_a_test_tells_what_the_receiver_answered(telling, receiver, status):
    """Whatever it is; a redirect is not followed."""
    made = await create(telling, url=receiver.url)
    receiver.status = status

    result = await telling.client.webhooks.test(made.id, event_type="batch.failed")

    assert (result.status_code, result.success) == (status, True)
    assert len(receiver.taken) == 1


async def test_a_test_without_an_answer_says_why(telling):
    """A 400 with a code of its own: the client has no form for it."""
    url = f"http://127.0.0.1:{free_port()}/"
    made = await create(telling, url=url)

    with pytest.raises(openai.BadRequestError) as caught:
        await telling.client.webhooks.test(made.id, event_type="batch.failed")

    assert caught.value.code == "webhook_unreachable"
    assert f"Nothing was answered by {url}: ConnectError" in caught.value.message


async def test_more_tests_than_places_are_told_to_come_back(telling, receiver):
    """503 with Retry-After while four hang; a place that is given back is taken."""
    made = await create(telling, url=receiver.url)
    path, body = f"/v1/webhook_endpoints/{made.id}/test", {"event_type": "batch.failed"}
    receiver.is_open.clear()

    hanging = [asyncio.create_task(telling.call("POST", path, json=body)) for _ in range(4)]
    await until(lambda: len(receiver.taken) == 4, saw=lambda: receiver.taken)
    refused = await telling.call("POST", path, json=body)
    receiver.is_open.set()

    assert (refused.status, int(refused.headers["Retry-After"]) > 0) == (503, True)
    assert [answer.status for answer in await asyncio.gather(*hanging)] == [200] * 4
    assert (await telling.call("POST", path, json=body)).status == 200


async def test_a_test_goes_only_where_deliveries_may(telling, receiver, starts):
    """The networks that the operator names now count, not those of when it was registered."""
    made = await create(telling, url=receiver.url)
    stricter = await starts(webhook_networks="10.0.0.0/8")

    with pytest.raises(openai.BadRequestError, match="BATCHLINE_WEBHOOK_NETWORKS"):
        await stricter.client.webhooks.test(made.id, event_type="batch.failed")

    assert receiver.taken == []


@pytest.mark.spec("9-rotate")
@pytest.mark.parametrize("given", [None, {}, {"keep_old_secret_active_for_24_hours": False}])
async def test_a_rotated_secret_is_the_only_one(telling, receiver, given):
    """Unless it is asked for, the old one signs no more."""
    old = await create(telling, url=receiver.url)
    telling.clock.advance(60)

    raw = await telling.call("POST", f"/v1/webhook_endpoints/{old.id}/rotate_secret", json=given)
    new = parse_strictly(raw.body, raw.json)
    await telling.client.webhooks.test(old.id, event_type="batch.failed")

    assert new.signing_secret != old.signing_secret
    assert new.updated_at == old.updated_at + 60
    assert is_signed_by(telling, new.signing_secret, receiver.taken[0])
    assert not is_signed_by(telling, old.signing_secret, receiver.taken[0])


@pytest.mark.spec("9-rotate")
async def test_an_old_secret_signs_for_24_hours_where_that_is_asked_for(telling, receiver):
    """Both sign until then, the new one alone after it."""
    hooks = telling.client.webhooks
    old = await create(telling, url=receiver.url)
    new = await hooks.rotate_secret(old.id, keep_old_secret_active_for_24_hours=True)

    for passed in (86399, 1):
        telling.clock.advance(passed)
        await hooks.test(old.id, event_type="batch.failed")

    before, after = receiver.taken
    assert is_signed_by(telling, new.signing_secret, before)
    assert is_signed_by(telling, old.signing_secret, before)
    assert is_signed_by(telling, new.signing_secret, after)
    assert not is_signed_by(telling, old.signing_secret, after)


def without(name):
    return {field: value for field, value in GOOD.items() if field != name}


NAMED = "'batch.completed', 'batch.failed', 'batch.expired', and 'batch.cancelled'"
BAD = {
    "no name": (without("name"), "name", "missing_required_parameter", "'name'"),
    "no url": (without("url"), "url", "missing_required_parameter", "'url'"),
    "no types": (without("event_types"), "event_types", "missing_required_parameter", "types'"),
    "name null": (GOOD | {"name": None}, "name", "invalid_type", "got null"),
    "name empty": (GOOD | {"name": ""}, "name", "empty_string", "minimum length 1"),
    "name too long": (GOOD | {"name": "n" * 257}, "name", "string_above_max_length", "256"),
    "url a number": (GOOD | {"url": 7}, "url", "invalid_type", "a string"),
    "types a string": (GOOD | {"event_types": "batch.failed"}, "event_types", "invalid_type", "array"),
    "types empty": (GOOD | {"event_types": []}, "event_types", "empty_array", "minimum length 1"),
    "type a number": (GOOD | {"event_types": [1]}, "event_types[0]", "invalid_type", "a string"),
    "type of others": (
        GOOD | {"event_types": ["batch.failed", "response.completed"]},
        "event_types[1]",
        "invalid_value",
        NAMED,
    ),
    "type twice": (
        GOOD | {"event_types": ["batch.failed", "batch.failed"]},
        "event_types",
        "invalid_value",
        "only once",
    ),
    "no object": ([], None, None, "it is an array"),
}  # fmt: skip


@pytest.mark.spec("9-endpoint-input")
@pytest.mark.parametrize(("body", "param", "code", "said"), BAD.values(), ids=BAD)
async def test_a_bad_endpoint_is_refused(gateway, body, param, code, said):
    """With what is wrong and what is allowed; nothing is made."""
    answer = await gateway.call("POST", "/v1/webhook_endpoints", json=body)

    error = answer.json["error"]
    assert (answer.status, error["param"], error["code"]) == (400, param, code)
    assert said in error["message"]
    assert await gateway.store.count_endpoints() == 0


@pytest.mark.spec("9-endpoint-input")
@pytest.mark.parametrize(
    ("param", "given"),
    [("name", None), ("name", ""), ("url", "http://x"), ("url", None), ("event_types", [])],
)
async def test_a_bad_update_is_refused(gateway, param, given):
    """It leaves the endpoint as it was."""
    made = await create(gateway)

    answer = await gateway.call("POST", f"/v1/webhook_endpoints/{made.id}", json={param: given})

    assert (answer.status, answer.json["error"]["param"]) == (400, param)
    shown = await gateway.client.webhooks.retrieve(made.id)
    assert shown.model_dump() == made.model_dump(exclude={"signing_secret"})


BAD_CALLS = {
    "test without a type": ("test", {}, "event_type"),
    "test without a body": ("test", None, None),
    "test of another's type": ("test", {"event_type": "eval.run.failed"}, "event_type"),
    "rotation by a word": (
        "rotate_secret",
        {"keep_old_secret_active_for_24_hours": "yes"},
        "keep_old_secret_active_for_24_hours",
    ),
}


@pytest.mark.spec("9-endpoint-input")
@pytest.mark.parametrize(("call", "body", "param"), BAD_CALLS.values(), ids=BAD_CALLS)
async def test_a_bad_test_or_rotation_is_refused(telling, receiver, call, body, param):
    """Nothing is sent, and no secret changes."""
    made = await create(telling, url=receiver.url)

    answer = await telling.call("POST", f"/v1/webhook_endpoints/{made.id}/{call}", json=body)

    assert (answer.status, answer.json["error"]["param"]) == (400, param)
    assert receiver.taken == []
    (kept,) = (await telling.client.webhooks.list()).data
    assert kept.signing_secret_hint == made.signing_secret_hint


@pytest.mark.parametrize("limit", ["0", "101", "x", "-1"])
async def test_a_bad_limit_is_refused(gateway, limit):
    """The bounds are those of batches."""
    answer = await gateway.call("GET", f"/v1/webhook_endpoints?limit={limit}")

    assert (answer.status, answer.json["error"]["param"]) == (400, "limit")
