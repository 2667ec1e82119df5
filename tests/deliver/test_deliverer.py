"""Deliveries: what a receiver gets, what counts as taken, and what becomes of the rest."""

from __future__ import annotations

import json
import logging

import pytest
from aiohttp import web
from receivers import Receiver, unwrapped

from batchline.errors import Invalid
from batchline.settings import Settings
from batchline.states import BatchStatus
from batchline.webhooks.patience import GIVEN_UP_AFTER_S
from batchline.webhooks.records import Ask, DeliveryState, EventType, Standing, new_secret
from deliver.app import wanted_by
from deliver.deliverer import KEPT_S, Wanted

PENDING, DELIVERED, GIVEN_UP = DeliveryState


async def test_an_event_is_told_in_the_form_of_openai(bench, receiver, clock):
    """It names the batch and holds nothing of it; both libraries verify it."""
    endpoint = await bench.endpoint(receiver.url)
    batch = await bench.ended()

    await bench.round()

    (told,) = receiver.told
    event = unwrapped(told, endpoint.secret)
    assert (event.type, event.data.id) == ("batch.failed", batch.id)
    assert json.loads(told.body) == {
        "id": told.id,
        "object": "event",
        "created_at": int(clock.now()),
        "type": "batch.failed",
        "data": {"id": batch.id},
    }
    assert told.headers["Content-Type"] == "application/json"
    assert told.headers["User-Agent"].startswith("batchline/")
    delivery = await bench.delivery()
    assert (delivery.state, delivery.attempts, delivery.last_status) == (DELIVERED, 1, 200)


async def test_a_batch_is_told_once(bench, receiver):
    """However often the deliverer looks."""
    await bench.endpoint(receiver.url)
    await bench.ended()

    await bench.spend(600)

    assert len(receiver.told) == 1


async def test_an_endpoint_gets_the_types_that_it_wants(bench, receiver):
    """And none that it did not name."""
    await bench.endpoint(receiver.url, event_types=(EventType.COMPLETED, EventType.EXPIRED))

    batch = await bench.ended()
    await bench.round()

    assert (await bench.store.get_batch(batch.id)).status is BatchStatus.FAILED
    assert receiver.told == []


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_taken(bench, receiver, status):
    """Whatever else the answer holds."""
    receiver.script = lambda _: status
    await bench.endpoint(receiver.url)
    await bench.ended()

    await bench.round()

    assert (await bench.delivery()).state is DELIVERED


@pytest.mark.parametrize(
    "status", [300, 301, 302, 304, 307, 308, 400, 401, 404, 410, 429, 500, 503]
)
async def test_any_other_status_is_a_failure(bench, receiver, status):
    """A redirect is not followed: it would lead where nobody looked."""
    async with Receiver() as elsewhere:
        receiver.script = lambda _: web.Response(status=status, headers={"Location": elsewhere.url})
        await bench.endpoint(receiver.url)
        await bench.ended()

        await bench.round()

    delivery = await bench.delivery()
    assert (delivery.state, delivery.last_status) == (PENDING, status)
    assert delivery.last_error == f"It answered {status}."
    assert elsewhere.told == []


async def test_an_answer_that_is_cut_after_its_status_is_taken(bench, receiver):
    """The receiver has decided; what it says beyond that is not read."""

    async def cut(_):
        answer = web.StreamResponse(headers={"Content-Length": "1000"})
        answer.force_close()
        return answer

    receiver.script = cut
    await bench.endpoint(receiver.url)
    await bench.ended()

    await bench.round()

    assert (await bench.delivery()).state is DELIVERED


async def test_a_failed_delivery_is_made_again_later_and_later(bench, receiver, clock):
    """The waits double; the event keeps its id."""
    receiver.script = lambda _: 500
    await bench.endpoint(receiver.url)
    await bench.ended()
    began, seen = clock.now(), []

    for _ in range(160):
        await bench.round()
        seen += [clock.now() - began] * (len(receiver.told) - len(seen))
        clock.advance(1.0)

    assert seen == [0, 5, 15, 35, 75, 155]
    assert len(set(receiver.ids)) == 1


async def test_retry_after_is_heeded(bench, receiver):
    """No attempt comes earlier than the receiver asked for."""
    receiver.script = lambda _: web.Response(status=503, headers={"Retry-After": "120"})
    await bench.endpoint(receiver.url)
    await bench.ended()

    await bench.round()
    await bench.spend(115)
    early = len(receiver.told)
    await bench.spend(10)

    assert (early, len(receiver.told)) == (1, 2)


async def test_a_delivery_is_given_up_after_72_hours_and_can_be_replayed(bench, receiver, caplog):
    """With a line in the log; a replay begins anew, under the same id."""
    receiver.script = lambda _: 500
    await bench.endpoint(receiver.url)
    await bench.ended()

    await bench.spend(GIVEN_UP_AFTER_S - 600, every_s=600.0)
    before = await bench.delivery()
    with caplog.at_level(logging.WARNING):
        await bench.spend(1800, every_s=600.0)
    given_up = await bench.delivery()
    many = len(receiver.told)
    await bench.spend(86400, every_s=600.0)

    assert (before.state, given_up.state) == (PENDING, GIVEN_UP)
    assert len(receiver.told) == many
    assert given_up.event.id in caplog.text
    assert "It answered 500." in caplog.text
    receiver.script = lambda _: 200
    await bench.store.replay_delivery(given_up.number, now=int(bench.clock.now()))
    await bench.round()
    assert (await bench.delivery()).state is DELIVERED
    assert len(set(receiver.ids)) == 1


async def test_the_outcomes_are_counted(bench, receiver, clock):
    """Each attempt by what came of it; and how long the oldest waits."""
    receiver.script = lambda _: 200 if len(receiver.told) > 1 else 500
    await bench.endpoint(receiver.url)
    await bench.ended()

    await bench.round()
    clock.advance(3)
    await bench.deliverer.step()
    waiting = bench.metrics.registry.get_sample_value("batchline_deliveries_oldest_seconds")
    await bench.spend(10)

    def value(name, **labels):
        return bench.metrics.registry.get_sample_value(f"batchline_{name}", labels)

    assert waiting == 3
    assert value("deliveries_total", outcome="failed") == 1
    assert value("deliveries_total", outcome="taken") == 1
    assert value("deliveries_pending") == 0


async def test_a_batch_has_its_end_told_where_it_asked_for_it(make_bench, receiver):
    """Signed with the operator's secret."""
    secret = new_secret()
    bench = await make_bench(Wanted(secret=secret))
    batch = await bench.ended(callback_url=receiver.url)
    await bench.ended()

    await bench.round()

    (told,) = receiver.told
    assert unwrapped(told, secret).data.id == batch.id
    assert (await bench.delivery()).ask is Ask.BATCH


async def test_without_a_secret_no_batch_is_called_back(bench, receiver):
    """Nothing is told unsigned."""
    await bench.ended(callback_url=receiver.url)

    await bench.spend(60)

    assert (receiver.told, await bench.deliveries()) == ([], [])


async def test_the_standing_receiver_is_told_every_end(make_bench, receiver):
    """Beside the endpoints, and beside the batch's own: once for each who asked."""
    secret = new_secret()
    bench = await make_bench(Wanted((Standing(receiver.url),), secret))
    await bench.endpoint(receiver.url)
    await bench.ended(callback_url=receiver.url)
    await bench.ended()

    await bench.round()

    asks = [delivery.ask for delivery in await bench.deliveries()]
    assert sorted(asks) == sorted([*Ask, Ask.ENDPOINT, Ask.SETTING])
    assert len(receiver.told) == 5
    assert len(set(receiver.ids)) == 2


async def test_a_delivery_whose_secret_was_taken_away_says_so(make_bench, receiver):
    """It waits for the setting to come back."""
    receiver.script = lambda _: 500
    await (await make_bench(Wanted(secret=new_secret()))).ended(callback_url=receiver.url)
    await (await make_bench(Wanted(secret=new_secret()))).round()
    bench = await make_bench()

    await bench.spend(10)

    assert len(receiver.told) == 1
    assert "BATCHLINE_WEBHOOK_SECRET is not set" in (await bench.delivery()).last_error


async def test_nothing_more_goes_to_an_endpoint_that_was_deleted(bench, receiver):
    """Its deliveries are given up, with the reason."""
    receiver.script = lambda _: 500
    endpoint = await bench.endpoint(receiver.url)
    await bench.ended()
    await bench.round()

    await bench.store.delete_endpoint(endpoint.id, now=int(bench.clock.now()))
    await bench.spend(600)

    delivery = await bench.delivery()
    assert len(receiver.told) == 1
    assert (delivery.state, delivery.last_error) == (GIVEN_UP, "The endpoint was deleted.")


async def test_an_endpoint_may_be_deleted_in_the_middle_of_an_attempt(bench, receiver):
    """What came of the attempt changes nothing any more."""
    endpoint = await bench.endpoint(receiver.url)
    await bench.ended()

    async def delete(_):
        await bench.store.delete_endpoint(endpoint.id, now=int(bench.clock.now()))
        return 500

    receiver.script = delete
    await bench.spend(600)

    assert len(receiver.told) == 1
    assert (await bench.delivery()).state is GIVEN_UP


async def test_pending_deliveries_follow_an_endpoint_that_moves(bench, receiver):
    """Whoever mends a wrong address gets what was missed."""
    receiver.script = lambda _: 404
    endpoint = await bench.endpoint(receiver.url)
    await bench.ended()
    await bench.round()

    async with Receiver() as right:
        await bench.store.update_endpoint(
            endpoint.id, name=None, url=right.url, event_types=None, now=int(bench.clock.now())
        )
        await bench.spend(10)

        assert right.ids == receiver.ids


async def test_what_has_ended_is_kept_for_seven_days(bench, receiver, clock):
    """Then it is forgotten, and its event with it; what is pending is not."""
    await bench.endpoint(receiver.url)
    await bench.ended()
    await bench.round()

    clock.advance(KEPT_S - 1)
    await bench.deliverer.forget()
    kept = await bench.deliveries()
    receiver.script = lambda _: 500
    await bench.ended()
    await bench.round()
    clock.advance(1)
    await bench.deliverer.forget()

    assert [delivery.state for delivery in kept] == [DELIVERED]
    assert [delivery.state for delivery in await bench.deliveries()] == [PENDING]
    await bench.round()
    assert len(receiver.told) == 2


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"webhook_url": "https://example.com/h"}, "needs BATCHLINE_WEBHOOK_SECRET"),
        ({"webhook_url": "http://example.com/h"}, "only HTTPS"),
        ({"webhook_url": "https://127.0.0.1/h"}, "is not a public address"),
    ],
    ids=["no secret", "http", "private"],
)
def test_a_standing_receiver_that_can_never_be_told_is_refused(given, why):
    """At the start, with the setting and the remedy."""
    secret = {} if "SECRET" in why else {"webhook_secret": new_secret()}

    with pytest.raises(Invalid, match=why) as refused:
        wanted_by(Settings(_env_file=None, **given, **secret))

    assert "BATCHLINE_WEBHOOK_URL" in str(refused.value)


def test_a_standing_receiver_and_its_secret_are_read():
    """From the settings."""
    secret = new_secret()
    told = Settings(_env_file=None, webhook_url="https://example.com/h", webhook_secret=secret)

    assert wanted_by(told) == Wanted([Standing("https://example.com/h")], secret)
