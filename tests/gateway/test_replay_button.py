"""The button that delivers once more, as a browser without JavaScript sends it."""

from __future__ import annotations

import re

import pytest

from batchline.webhooks.records import Attempted, DeliveryState
from gateway.auth.credentials import COOKIE

KEY = "sk-of-this-server"
HOOK = "https://hooks.example.com/batch"


@pytest.fixture
def delivered(make_batch, store, clock):
    """Make a delivery that its receiver took; return its number."""

    async def deliver():
        now = int(clock())
        batch = await make_batch(callback_url=HOOK)
        assert await store.reject(batch, [], now=now)
        await store.address_events([], calls_back=True, now=now, limit=9)
        (claimed,) = await store.claim_deliveries(now=now, limit=1, ttl_s=30)
        await store.record_attempt(claimed, Attempted(DeliveryState.DELIVERED, status=200), now=now)
        return claimed.delivery.number

    return deliver


async def state_of(store):
    (delivery,) = await store.list_deliveries(limit=9)
    return delivery.state


async def press(gateway, *, cookie=None, **fields):
    """Send the form as the page does, and return status and where it leads."""
    async with gateway.http.post(
        gateway.url + "/replay",
        data=fields,
        headers={"Cookie": f"{COOKIE}={cookie}"} if cookie else {},
        allow_redirects=False,
    ) as answer:
        return answer.status, answer.headers.get("Location")


async def signed_in(gateway):
    """Return the cookie of a session, and what the page of its reader says."""
    async with gateway.http.post(
        gateway.url + "/sign-in", data={"key": KEY}, allow_redirects=False
    ) as answer:
        cookie = answer.cookies[COOKIE].value
    return cookie, await page_of(gateway, {"Cookie": f"{COOKIE}={cookie}"})


async def page_of(gateway, headers=None):
    async with gateway.http.get(gateway.url + "/", headers=headers) as answer:
        return await answer.text()


def form_of(html):
    """Return what pressing the first button of the page's form sends."""
    form = re.search(r'<form id="replay" method="post" action="/replay">(.*?)</form>', html)[1]
    hidden = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
    name, value = re.search(r'form="replay" name="(\w+)" value="(\w+)"', html).groups()
    return hidden | {name: value}


async def test_a_delivery_is_made_once_more(starts, store, delivered):
    """And the reader is led back to the panel."""
    number = await delivered()
    gateway = await starts(with_pages=True)
    fields = form_of(await page_of(gateway))

    answer = await press(gateway, **fields)

    assert fields == {"delivery": f"dlv_{number}"}
    assert answer == (303, "/#h-deliveries")
    assert await state_of(store) is DeliveryState.PENDING


async def test_a_signed_in_reader_sends_the_token_of_the_session(starts, store, delivered):
    """Another's token, or none, is refused and changes nothing; each reader's page has its own."""
    await delivered()
    gateway = await starts(api_key=KEY, with_pages=True)
    cookie, html = await signed_in(gateway)
    _, anothers = await signed_in(gateway)
    fields = form_of(html)

    refused = [
        await press(gateway, **fields),
        await press(gateway, cookie=cookie, delivery=fields["delivery"]),
        await press(gateway, cookie=cookie, **fields | {"token": form_of(anothers)["token"]}),
    ]
    assert [status for status, _ in refused] == [401, 403, 403]
    assert await state_of(store) is DeliveryState.DELIVERED

    assert (await press(gateway, cookie=cookie, **fields))[0] == 303
    assert await state_of(store) is DeliveryState.PENDING


async def test_a_delivery_that_is_forgotten_leads_back(starts, store, delivered):
    """The page was older than it; nothing else changes."""
    await delivered()
    gateway = await starts(with_pages=True)

    assert await press(gateway, delivery="dlv_99") == (303, "/#h-deliveries")
    assert await state_of(store) is DeliveryState.DELIVERED


@pytest.mark.parametrize(
    "fields",
    [{}, {"delivery": "12"}, {"delivery": "dlv_0"}, {"delivery": "dlv_" + "9" * 30}],
    ids=["none", "a number", "zero", "beyond every number"],
)
async def test_what_names_no_delivery_is_refused(starts, fields):
    """With a sentence that says how one is named."""
    gateway = await starts(with_pages=True)

    answer = await gateway.call("POST", "/replay", data=fields | {"x": "y"})

    assert answer.status == 400
    assert "dlv_12" in answer.json["error"]["message"]


async def test_a_foreign_page_replays_nothing(starts, store, delivered):
    """As every change; a browser says where its form comes from."""
    number = await delivered()
    gateway = await starts(with_pages=True)

    answer = await gateway.call(
        "POST",
        "/replay",
        data={"delivery": f"dlv_{number}"},
        headers={"Origin": "https://evil.example"},
    )

    assert answer.status == 403
    assert await state_of(store) is DeliveryState.DELIVERED
