"""What clients see of deliveries, and how they ask for one again."""

from __future__ import annotations

import pytest

from batchline.states import OutcomeKind
from batchline.webhooks.records import (
    Attempted,
    DeliveryState,
    Standing,
    delivery_id,
    delivery_number,
    handler_url,
)

OK = OutcomeKind.SUCCEEDED
HOOK = "https://hooks.example.org/"
OURS = Standing("https://ops.example.org/")
NO_IDS = [
    "x",
    "dlv_0",
    "dlv_",
    "dlv_01",
    "dlv_-1",
    "dlv_1_0",
    "dlv_1.0",
    "dlv_१",
    "dlv_" + "9" * 30,
    "7",
]


async def endpoint(gateway):
    made = await gateway.client.webhooks.create(
        name="n", url=HOOK, event_types=["batch.completed", "batch.failed"]
    )
    return made.id


async def ended(gateway, **fields):
    """End a batch, and make its deliveries as the deliverer does."""
    batch = await gateway.create_batch(**fields)
    await gateway.run(batch.id, OK)
    await gateway.store.address_events([OURS], calls_back=True, now=int(gateway.clock()), limit=9)
    return batch.id


async def attempted(gateway, state, **fields):
    """Attempt what is due, one delivery; tell what came of it."""
    now = int(gateway.clock())
    (claimed,) = await gateway.store.claim_deliveries(now=now, limit=1, ttl_s=30)
    assert await gateway.store.record_attempt(claimed, Attempted(state, **fields), now=now)
    return delivery_id(claimed.delivery.number)


async def of(gateway, path):
    """List deliveries; the witness holds each against the document."""
    return await listed(gateway, f"{path}/deliveries")


async def listed(gateway, path):
    answer = await gateway.call("GET", f"/v1/{path}")
    assert (answer.status, answer.json["object"]) == (200, "list")
    return answer.json["data"]


@pytest.mark.spec("beyond-deliveries")
async def test_a_delivery_shows_what_is_told_to_whom(gateway):
    """One for each who asked, the last made first; the endpoint's are shown with it."""
    endpoint_id = await endpoint(gateway)
    batch_id = await ended(gateway)
    now = int(gateway.clock())

    ours, theirs = await of(gateway, f"batches/{batch_id}")

    assert theirs == {
        "id": "dlv_1",
        "object": "delivery",
        "event": theirs["event"],
        "url": HOOK,
        "handler": None,
        "asked_by": "endpoint",
        "state": "pending",
        "attempts": 0,
        "lines_done": None,
        "lines_total": None,
        "next_attempt_at": now,
        "last_status_code": None,
        "last_error": None,
        "created_at": now,
        "ended_at": None,
    }
    event_id = theirs["event"]["id"]
    assert theirs["event"] == {
        "id": event_id,
        "type": "batch.completed",
        "created_at": now,
        "batch_id": batch_id,
    }
    assert ours == theirs | {"id": "dlv_2", "url": OURS.url, "asked_by": "setting"}
    assert await of(gateway, f"webhook_endpoints/{endpoint_id}") == [theirs]
    assert await listed(gateway, "deliveries") == [ours, theirs]


@pytest.mark.spec("beyond-deliveries")
async def test_a_delivery_shows_its_attempts(gateway):
    """A failed one with its reason and when it is tried next; a taken one with its end."""
    await endpoint(gateway)
    batch_id = await ended(gateway)
    now = int(gateway.clock())
    failed = {"due_at": now + 7, "status": 503, "error": "It answered 503."}
    first = await attempted(gateway, DeliveryState.PENDING, **failed)
    await attempted(gateway, DeliveryState.DELIVERED, status=204)

    taken, waiting = await of(gateway, f"batches/{batch_id}")

    assert waiting["id"] == first
    assert (waiting["state"], waiting["attempts"]) == ("pending", 1)
    assert (waiting["next_attempt_at"], waiting["ended_at"]) == (now + 7, None)
    assert (waiting["last_status_code"], waiting["last_error"]) == (503, "It answered 503.")
    assert (taken["state"], taken["attempts"]) == ("delivered", 1)
    assert (taken["next_attempt_at"], taken["ended_at"]) == (None, now)
    assert (taken["last_status_code"], taken["last_error"]) == (204, None)


@pytest.mark.spec("beyond-deliveries")
async def test_a_delivery_to_a_handler_shows_how_far_it_came(gateway):
    """Its name in place of a URL; how many results it has handled, of how many until the batch is deleted."""
    here = handler_url("mine")
    batch = await gateway.create_batch()
    await gateway.run(batch.id, OK)
    now = int(gateway.clock())
    await gateway.store.address_events([Standing(here)], calls_back=True, now=now, limit=9)
    (claimed,) = await gateway.store.claim_deliveries(now=now, limit=1, ttl_s=30, handlers=[here])
    total = (await gateway.store.get_batch(batch.id)).counts.total
    assert await gateway.store.keep_delivery(claimed, lines_done=1, checkpoint=None, ttl_s=30)

    (running,) = await of(gateway, f"batches/{batch.id}")
    assert (await gateway.call("DELETE", f"/v1/batches/{batch.id}")).status == 200
    (orphan,) = await listed(gateway, "deliveries")

    assert (running["handler"], running["url"], running["asked_by"]) == ("mine", None, "setting")
    assert (running["lines_done"], running["lines_total"], total > 0) == (1, total, True)
    assert orphan == running | {"lines_total": None}


@pytest.mark.spec("beyond-deliveries")
async def test_deliveries_come_page_by_page(gateway):
    """Each once, the last made first, with the batch's own alone."""
    endpoint_id = await endpoint(gateway)
    for _ in range(5):
        batch_id = await ended(gateway)
    path = f"/v1/webhook_endpoints/{endpoint_id}/deliveries?limit=2"
    seen, after = [], ""

    while True:
        page = (await gateway.call("GET", path + after)).json
        seen += [one["id"] for one in page["data"]]
        assert (page["first_id"], page["last_id"]) == (seen[-len(page["data"])], seen[-1])
        if not page["has_more"]:
            break
        after = f"&after={page['last_id']}"

    assert seen == ["dlv_9", "dlv_7", "dlv_5", "dlv_3", "dlv_1"]
    assert [one["id"] for one in await of(gateway, f"batches/{batch_id}")] == ["dlv_10", "dlv_9"]
    newest = await listed(gateway, "deliveries?limit=2&after=dlv_9")
    assert [one["id"] for one in newest] == ["dlv_8", "dlv_7"]


async def test_a_batch_that_runs_has_no_deliveries(gateway):
    """An empty page."""
    batch = await gateway.create_batch()

    assert await of(gateway, f"batches/{batch.id}") == []


@pytest.mark.spec("beyond-deliveries")
@pytest.mark.parametrize("after", NO_IDS)
async def test_a_page_after_no_delivery_is_not_found(gateway, after):
    """As with batches."""
    endpoint_id = await endpoint(gateway)

    for path in (
        f"webhook_endpoints/{endpoint_id}/deliveries",
        f"batches/{(await gateway.create_batch()).id}/deliveries",
        "deliveries",
    ):
        answer = await gateway.call("GET", f"/v1/{path}", params={"after": after})

        assert (answer.status, answer.json["error"]["param"]) == (404, "after")


@pytest.mark.parametrize("path", ["webhook_endpoints/whe_x", "batches/batch_x"])
async def test_deliveries_of_nothing_are_not_found(gateway, path):
    """It names what is not there."""
    answer = await gateway.call("GET", f"/v1/{path}/deliveries")

    assert answer.status == 404
    assert path.partition("/")[2] in answer.json["error"]["message"]


@pytest.mark.spec("beyond-replay")
@pytest.mark.parametrize("end", [DeliveryState.DELIVERED, DeliveryState.GIVEN_UP])
async def test_what_has_ended_is_delivered_again(gateway, end):
    """Due at once and counted anew; the event keeps its id."""
    await endpoint(gateway)
    batch_id = await ended(gateway)
    number = await attempted(gateway, end, status=500, error="It answered 500.")
    event = (await of(gateway, f"batches/{batch_id}"))[1]["event"]
    gateway.clock.advance(86400)

    answer = await gateway.call("POST", f"/v1/deliveries/{number}/replay", data=b"ignored")

    now = int(gateway.clock())
    told = answer.json
    assert (answer.status, told["id"], told["event"]) == (200, number, event)
    assert (told["state"], told["attempts"], told["ended_at"]) == ("pending", 0, None)
    assert (told["next_attempt_at"], told["created_at"]) == (now, now)
    assert told in await of(gateway, f"batches/{batch_id}")


@pytest.mark.spec("beyond-replay")
async def test_what_went_to_a_deleted_endpoint_is_not_replayed(gateway):
    """It was given up when the endpoint went, and the batch's list says so."""
    endpoint_id = await endpoint(gateway)
    batch_id = await ended(gateway)
    await gateway.client.webhooks.delete(endpoint_id)

    answer = await gateway.call("POST", "/v1/deliveries/dlv_1/replay")

    assert answer.status == 409
    assert "Cannot replay dlv_1: the webhook endpoint" in answer.json["error"]["message"]
    gone = (await of(gateway, f"batches/{batch_id}"))[1]
    assert (gone["state"], gone["last_error"]) == ("given_up", "The endpoint was deleted.")


@pytest.mark.spec("beyond-replay")
@pytest.mark.parametrize("number", [*NO_IDS, "dlv_99"])
async def test_what_is_no_delivery_is_not_replayed(gateway, number):
    """404, whatever the id looks like."""
    answer = await gateway.call("POST", f"/v1/deliveries/{number}/replay")

    assert answer.status == 404
    assert "No delivery found" in answer.json["error"]["message"]


@pytest.mark.parametrize("number", [1, 10**18 - 1])
def test_the_id_of_a_delivery_is_read_back(number):
    """Both ways."""
    assert delivery_number(delivery_id(number)) == number


@pytest.mark.parametrize("text", NO_IDS)
def test_what_is_no_id_has_no_number(text):
    """Other ways to write one are none."""
    assert delivery_number(text) is None
