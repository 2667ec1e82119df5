"""What a receiver gets, read by the library of Standard Webhooks and by OpenAI's package."""

from __future__ import annotations

import json
import time

import openai
import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from batchline.webhooks.records import (
    Endpoint,
    Event,
    EventType,
    hint_of,
    new_endpoint_id,
    new_secret,
)
from batchline.webhooks.signing import body_of, signed_headers

OLD, NEW, FOREIGN = (f"whsec_{letter * 43}=" for letter in "AEI")
CLIENT = openai.OpenAI(api_key="none")
KNOWN = {
    EventType.COMPLETED: "BatchCompletedWebhookEvent",
    EventType.FAILED: "BatchFailedWebhookEvent",
    EventType.EXPIRED: "BatchExpiredWebhookEvent",
    EventType.CANCELLED: "BatchCancelledWebhookEvent",
}


def event(event_type=EventType.COMPLETED):
    return Event("evt_1", event_type, 1_800_000_000, "batch_1")


def signed(*secrets, now=None):
    body = body_of(event())
    return body, signed_headers("evt_1", body, secrets, now=time.time() if now is None else now)


@pytest.mark.parametrize(("event_type", "name"), KNOWN.items())
def test_openais_package_knows_each_event(event_type, name):
    """By its class, with the id of the batch and nothing of it."""
    body = body_of(event(event_type))
    headers = signed_headers("evt_1", body, [NEW], now=time.time())

    found = CLIENT.webhooks.unwrap(body, headers, secret=NEW)

    assert type(found).__name__ == name
    assert json.loads(body) == {
        "id": "evt_1",
        "object": "event",
        "created_at": 1_800_000_000,
        "type": str(event_type),
        "data": {"id": "batch_1"},
    }


@pytest.mark.parametrize("known", [OLD, NEW])
def test_both_secrets_verify_while_one_is_rotated(known):
    """Receivers take the new one at any time between."""
    body, headers = signed(NEW, OLD)

    assert Webhook(known).verify(body, headers)["id"] == "evt_1"
    assert CLIENT.webhooks.unwrap(body, headers, secret=known).id == "evt_1"


def test_no_other_secret_verifies_and_no_other_bytes():
    """A receiver that checks is fooled by nobody."""
    body, headers = signed(NEW)

    for data, secret, told in (
        (body, FOREIGN, headers),
        (body + b" ", NEW, headers),
        (body, NEW, headers | {"webhook-id": "evt_2"}),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(data, told)
        with pytest.raises(openai.InvalidWebhookSignatureError):
            CLIENT.webhooks.unwrap(data, told, secret=secret)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns", "Pacific/Kiritimati"])
def test_the_zone_of_the_host_changes_nothing(monkeypatch, zone):
    """The library takes any other zone for UTC: signatures would be hours off."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        body, headers = signed(NEW)
        found = CLIENT.webhooks.unwrap(body, headers, secret=NEW)
    finally:
        monkeypatch.undo()
        time.tzset()

    assert found.id == "evt_1"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60


def test_the_time_is_the_attempts():
    """An event that was told late is no old message to its receiver; one sent again long after is."""
    body, headers = signed(NEW, now=time.time() - 400)

    with pytest.raises(openai.InvalidWebhookSignatureError):
        CLIENT.webhooks.unwrap(body, headers, secret=NEW)


def test_a_fraction_of_a_second_is_cut():
    """Header and signature say the same second."""
    body, headers = signed(NEW, now=int(time.time()) + 0.9)

    assert Webhook(NEW).verify(body, headers)
    assert headers["webhook-timestamp"].isdigit()


def test_headers_are_those_of_standard_webhooks():
    """And the body's type."""
    _, headers = signed(NEW, OLD)

    assert set(headers) == {
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "Content-Type",
    }
    assert headers["webhook-id"] == "evt_1"
    assert [one[:3] for one in headers["webhook-signature"].split(" ")] == ["v1,", "v1,"]
    assert headers["Content-Type"] == "application/json"


def test_secrets_and_ids_are_new_and_of_their_form():
    """32 random bytes, as Standard Webhooks writes them; ids are 128 random bits."""
    secrets = {new_secret() for _ in range(50)}
    ids = {new_endpoint_id() for _ in range(50)}

    assert (len(secrets), len(ids)) == (50, 50)
    for secret in secrets:
        assert secret.startswith("whsec_")
        assert len(Webhook(secret)._whsecret) == 32
    assert {len(one.partition("_")[2]) for one in ids} == {32}


def test_a_secret_is_shown_by_its_end_alone():
    """Who holds it recognises it; nobody can guess it."""
    assert hint_of(NEW) == f"whsec_…{NEW[-4:]}"


@pytest.mark.parametrize(
    ("old", "until", "now", "signs"),
    [
        (None, 0, 5, [NEW]),
        (OLD, 10, 9.9, [NEW, OLD]),
        (OLD, 10, 10, [NEW]),
        (OLD, 0, 5, [NEW]),
    ],
)
def test_the_old_secret_signs_until_its_time(old, until, now, signs):
    """The new one first: most receivers know it."""
    endpoint = Endpoint("we_1", "n", "https://a", [], NEW, 1, 1, old, until)

    assert endpoint.secrets_at(now) == signs
