"""A batch may ask that its end be told: by `callback_url`, or by `webhook_url` in its metadata."""

from __future__ import annotations

import openai
import pytest

from batchline.blobs.keys import result_key
from batchline.jsonl.result_lines import CANCELLED_CODE, CANCELLED_MESSAGE, error_record
from batchline.states import OutcomeKind

HOOK, OTHER = "https://hooks.example.org/a", "https://hooks.example.org/b"


@pytest.fixture
async def signing(starts):
    """A gateway with a secret, as most tests here need."""
    return await starts(webhook_secret="whsec_" + "c2VjcmV0" * 5)


async def created(gateway, **fields):
    """Create a batch; return it as it is shown afterwards."""
    batch = await gateway.create_batch(**fields)
    return (await gateway.call("GET", f"/v1/batches/{batch.id}")).json


@pytest.mark.spec("beyond-callback-url")
@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"extra_body": {"callback_url": HOOK}}, HOOK),
        ({"metadata": {"webhook_url": HOOK}}, HOOK),
        ({"metadata": {"webhook_url": OTHER}, "extra_body": {"callback_url": HOOK}}, HOOK),
        ({"metadata": {"webhook_url": "?"}, "extra_body": {"callback_url": HOOK}}, HOOK),
        ({"metadata": {"webhook_url": HOOK}, "extra_body": {"callback_url": None}}, HOOK),
        ({"extra_body": {"callback_url": None}}, None),
        ({"metadata": {"webhook": HOOK}}, None),
        ({}, None),
    ],
)
async def test_a_batch_keeps_where_its_end_is_told(signing, fields, kept):
    """The field wins over the metadata, which stays as it was given; shown only where there is one."""
    shown = await created(signing, **fields)

    assert shown.get("callback_url", "absent") == (kept or "absent")
    assert shown["metadata"] == fields.get("metadata")


@pytest.mark.spec("beyond-callback-url")
async def test_the_end_is_told_there(signing):
    """As a delivery that the batch asked for."""
    batch = await created(signing, extra_body={"callback_url": HOOK})
    await signing.run(batch["id"], OutcomeKind.SUCCEEDED)
    await signing.store.address_events([], calls_back=True, now=int(signing.clock()), limit=9)

    answer = await signing.call("GET", f"/v1/batches/{batch['id']}/deliveries")

    (delivery,) = answer.json["data"]
    assert (delivery["url"], delivery["asked_by"]) == (HOOK, "batch")
    assert delivery["event"]["type"] == "batch.completed"


@pytest.mark.spec("beyond-callback-url")
@pytest.mark.parametrize(
    ("fields", "param", "code", "said"),
    [
        ({"callback_url": 7}, "callback_url", "invalid_type", "a string"),
        ({"callback_url": [HOOK]}, "callback_url", "invalid_type", "a string"),
        ({"callback_url": ""}, "callback_url", "invalid_value", "HTTPS"),
        ({"callback_url": "https://10.0.0.1/"}, "callback_url", "invalid_value", "not a public"),
        ({"callback_url": "http://example.org/"}, "callback_url", "invalid_value", "only HTTPS"),
        (
            {"metadata": {"webhook_url": "https://10.0.0.1/"}},
            "metadata.webhook_url",
            "invalid_value",
            "not a public",
        ),
    ],
)
async def test_what_cannot_be_told_is_refused(signing, fields, param, code, said):
    """No batch is made."""
    with pytest.raises(openai.BadRequestError, match=said) as caught:
        await signing.create_batch(extra_body=fields)

    assert (caught.value.param, caught.value.code) == (param, code)
    assert (await signing.client.batches.list()).data == []


@pytest.mark.spec("beyond-callback-url")
async def test_without_a_secret_nothing_is_told(gateway):
    """The field is refused with the setting that is lacking; the metadata is the client's own."""
    with pytest.raises(openai.BadRequestError, match="BATCHLINE_WEBHOOK_SECRET") as caught:
        await gateway.create_batch(extra_body={"callback_url": HOOK})

    assert caught.value.param == "callback_url"
    shown = await created(gateway, metadata={"webhook_url": "no URL at all"})
    assert "callback_url" not in shown


@pytest.mark.spec("beyond-callback-url")
async def test_networks_that_the_operator_names_may_be_told(telling):
    """By the same rules as endpoints."""
    shown = await created(telling, extra_body={"callback_url": "http://127.0.0.1:9/"})

    assert shown["callback_url"] == "http://127.0.0.1:9/"


@pytest.mark.spec("beyond-callback-url")
async def test_a_retry_is_told_where_the_original_was(signing):
    """Its lines are still those that somebody waits for; its own metadata win, and are judged alike."""
    batch = await failed(signing, extra_body={"callback_url": HOOK})

    async def told_at(metadata):
        body = {"metadata": metadata}
        answer = await signing.call("POST", f"/v1/batches/{batch.id}/retry", json=body)
        assert answer.status == 200
        return answer.json.get("callback_url", "absent")

    assert await told_at({}) == await told_at({"team": "a"}) == HOOK
    assert await told_at({"webhook_url": OTHER}) == OTHER
    assert await told_at({"webhook_url": None}) == "absent"
    body = {"metadata": {"webhook_url": "https://10.0.0.1/"}}
    refused = await signing.call("POST", f"/v1/batches/{batch.id}/retry", json=body)
    assert (refused.status, refused.json["error"]["param"]) == (400, "metadata.webhook_url")


async def test_metadata_of_a_retry_mean_nothing_without_a_secret(gateway):
    """As those of a batch."""
    batch = await failed(gateway)

    body = {"metadata": {"webhook_url": "no URL at all"}}
    answer = await gateway.call("POST", f"/v1/batches/{batch.id}/retry", json=body)

    assert (answer.status, answer.json.get("callback_url")) == (200, None)


async def failed(gateway, **fields):
    """Let a batch end of which one line can be retried."""
    batch = await gateway.create_batch(**fields)
    await gateway.run(batch.id, OutcomeKind.FAILED)
    writer = gateway.blobs.create(result_key(batch.id, "error"))
    await writer.write(
        error_record("batch_req_x", "a", code=CANCELLED_CODE, message=CANCELLED_MESSAGE)
    )
    await writer.commit()
    return batch
