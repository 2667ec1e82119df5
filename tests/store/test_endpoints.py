"""`Endpoints`: receivers, and what became of deliveries. Docstrings are the contract's sentences."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hooks import (
    GIVEN_UP,
    HOOK,
    ORIGIN,
    TAKEN,
    TO_SETTING,
    address,
    again_at,
    claim,
    deliveries,
    ended,
    endpoint,
    one_delivery,
)
from steps import NOW

from batchline.webhooks.records import Attempted, DeliveryState, EventType

LATER = NOW + 100


async def test_an_endpoint_comes_back_as_it_was_added(store):
    """Return the endpoint, or None if there is none."""
    added = endpoint(event_types=[EventType.FAILED, EventType.COMPLETED])

    await store.add_endpoint(added)

    assert await store.get_endpoint("we_a") == added
    assert await store.get_endpoint("we_b") is None


@pytest.mark.parametrize("at", [NOW - 1000, NOW, NOW + 1000], ids=["back", "same", "ahead"])
async def test_an_endpoint_gets_what_happens_after_it_was_added(store, make_batch, at):
    """Insert one endpoint; it gets the events that happen from now on.

    Whatever the clock says: it may be set back between the two.
    """
    await ended(store, make_batch)
    await store.add_endpoint(endpoint(created_at=at))
    second = await ended(store, make_batch)

    await address(store)

    assert [told.event.batch_id for told in await deliveries(store)] == [second.id]


async def test_endpoints_are_listed_newest_first(store):
    """Return one page, newest first; None if the endpoint `after` is unknown."""
    for name in "abc":
        await store.add_endpoint(endpoint(name))

    async def listed(after, limit):
        page = await store.list_endpoints(after=after, limit=limit)
        return "".join(found.name for found in page.items), page.has_more

    assert await listed(None, 2) == ("cb", True)
    assert await listed("we_b", 2) == ("a", False)
    assert await listed(None, 3) == ("cba", False)
    assert await store.list_endpoints(after="we_x", limit=2) is None


async def test_endpoints_are_counted(store):
    """Return how many endpoints there are."""
    before = await store.count_endpoints()
    for name in "ab":
        await store.add_endpoint(endpoint(name))
    await store.delete_endpoint("we_a", now=NOW)

    assert (before, await store.count_endpoints()) == (0, 1)


async def update(store, endpoint_id="we_a", **changes):
    given = {"name": None, "url": None, "event_types": None, "now": LATER} | changes
    return await store.update_endpoint(endpoint_id, **given)


CHANGES = {
    "name": {"name": "new"},
    "url": {"url": "http://127.0.0.1:9/x"},
    "types": {"event_types": [EventType.EXPIRED]},
    "all": {"name": "b", "url": "https://b.example", "event_types": [EventType.FAILED]},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
async def test_what_is_given_is_changed(store, changes):
    """Change what is given and return the endpoint as it is afterwards, or None if there is none."""
    await store.add_endpoint(endpoint())
    await store.add_endpoint(endpoint("other"))

    changed = await update(store, **changes)

    assert changed == replace(endpoint(), **changes, updated_at=LATER)
    assert await store.get_endpoint("we_a") == changed
    assert await store.get_endpoint("we_other") == endpoint("other")
    assert await update(store, "we_none", **changes) is None


async def test_an_update_that_changes_nothing_leaves_no_stamp(store):
    """`updated_at` moves only if something changed.

    It never moves back.
    """
    await store.add_endpoint(endpoint())

    same = await update(store, name="a", url=HOOK, event_types=list(EventType))
    nothing = await update(store)
    early = await update(store, name="b", now=NOW - 100)

    assert same == nothing == endpoint()
    assert early == replace(endpoint(), name="b")


async def test_pending_deliveries_follow_the_endpoint(store, make_batch):
    """Pending deliveries go to the new address, and no record of one that has ended changes."""
    old = await one_delivery(store, make_batch)
    await store.record_attempt((await claim(store))[0], TAKEN, now=NOW)
    await ended(store, make_batch)
    await address(store)

    await update(store, url="https://new.example/hook")

    assert [told.url for told in await deliveries(store)] == [old.url, "https://new.example/hook"]
    assert await claim(store, but=["https://new.example:443"]) == []
    (claimed,) = await claim(store, but=[ORIGIN])
    assert claimed.delivery.url == "https://new.example/hook"


async def test_a_new_secret_signs_from_now_on(store, make_batch):
    """Return the endpoint as it is afterwards, or None if there is none."""
    await one_delivery(store, make_batch)

    rotated = await store.rotate_secret("we_a", secret="whsec_2", keep_until=None, now=LATER)
    (claimed,) = await claim(store)

    assert rotated == replace(endpoint(), secret="whsec_2", updated_at=LATER)
    assert await store.get_endpoint("we_a") == rotated
    assert claimed.secrets == ["whsec_2"]
    assert await store.rotate_secret("we_x", secret="s", keep_until=None, now=LATER) is None


async def test_the_old_secret_signs_beside_the_new_one_for_a_while(store, make_batch):
    """Let `secret` sign from now on; the one before it until `keep_until`, or no more."""
    await one_delivery(store, make_batch)

    rotated = await store.rotate_secret("we_a", secret="whsec_2", keep_until=LATER, now=NOW)
    (before,) = await claim(store, now=LATER - 1, ttl_s=0)
    (after,) = await claim(store, now=LATER)

    assert (rotated.old_secret, rotated.old_secret_until) == ("whsec_a", LATER)
    assert before.secrets == rotated.secrets_at(LATER - 1) == ["whsec_2", "whsec_a"]
    assert after.secrets == rotated.secrets_at(LATER) == ["whsec_2"]


async def test_a_second_rotation_ends_the_first_secret_for_good(store):
    """Two sign at most: a leaked one is gone when it was rotated twice."""
    await store.add_endpoint(endpoint())
    await store.rotate_secret("we_a", secret="whsec_2", keep_until=LATER, now=NOW)

    kept = await store.rotate_secret("we_a", secret="whsec_3", keep_until=LATER, now=NOW)
    dropped = await store.rotate_secret("we_a", secret="whsec_4", keep_until=None, now=NOW)

    assert kept.secrets_at(NOW) == ["whsec_3", "whsec_2"]
    assert dropped.secrets_at(NOW) == ["whsec_4"]


async def test_a_deleted_endpoint_gets_nothing_more(store, make_batch):
    """Forget the endpoint and give up its pending deliveries; False if there was none."""
    await store.add_endpoint(endpoint("b"))
    first = await one_delivery(store, make_batch)
    (to_b, to_a) = await claim(store)
    await store.record_attempt(to_a, TAKEN, now=NOW)
    await ended(store, make_batch)
    await address(store)
    await ended(store, make_batch)  # not addressed yet

    assert await store.delete_endpoint("we_a", now=LATER)
    assert not await store.delete_endpoint("we_a", now=LATER)
    await address(store)

    log = await deliveries(store, endpoint_id="we_a")
    assert await store.get_endpoint("we_a") is None
    assert [told.state for told in log] == [DeliveryState.DELIVERED, DeliveryState.GIVEN_UP]
    assert (log[0].number, log[0].ended_at) == (first.number, NOW)
    assert (log[1].ended_at, log[1].last_error) == (LATER, "The endpoint was deleted.")
    pending = [told for told in await deliveries(store) if told.state is DeliveryState.PENDING]
    assert [told.endpoint_id for told in pending] == ["we_b"] * 3
    assert to_b.delivery.number == pending[0].number


async def test_an_attempt_that_was_under_way_when_its_endpoint_went_is_not_noted(store, make_batch):
    """The delivery stays given up."""
    await one_delivery(store, make_batch)
    (claimed,) = await claim(store)
    await store.delete_endpoint("we_a", now=NOW)

    assert not await store.record_attempt(claimed, again_at(LATER), now=NOW)

    assert await claim(store, now=LATER) == []
    assert (await deliveries(store))[0].state is DeliveryState.GIVEN_UP


async def test_deliveries_are_listed_by_whom_and_what_they_are_about(store, make_batch):
    """Return deliveries to the endpoint, of the batch's events, or all; the last made first."""
    for name in "ab":
        await store.add_endpoint(endpoint(name))
    batches = [await ended(store, make_batch) for _ in range(2)]
    await address(store, standing=TO_SETTING)

    async def listed(**asked):
        found = await store.list_deliveries(**asked, limit=99)
        return [(batches[0].id != told.event.batch_id, told.endpoint_id) for told in found]

    of_first = [(False, None), (False, "we_b"), (False, "we_a")]
    of_second = [(True, None), (True, "we_b"), (True, "we_a")]
    assert await listed() == of_second + of_first
    assert await listed(batch_id=batches[0].id) == of_first
    assert await listed(endpoint_id="we_b") == [of_second[1], of_first[1]]
    assert await listed(endpoint_id="we_b", batch_id=batches[1].id) == [of_second[1]]
    assert await listed(batch_id="batch_none") == await listed(endpoint_id="we_none") == []


@pytest.mark.parametrize("asked", [{}, {"endpoint_id": "we_a"}, {"batch_id": True}])
async def test_the_log_is_read_page_by_page(store, make_batch, asked):
    """With `before`, only those with lower numbers."""
    for name in "abc":
        await store.add_endpoint(endpoint(name))
    batches = [await ended(store, make_batch) for _ in range(3)]
    await address(store)
    asked = {"batch_id": batches[1].id} if "batch_id" in asked else asked

    numbers = [told.number for told in await store.list_deliveries(**asked, limit=99)]
    first = await store.list_deliveries(**asked, limit=2)
    rest = await store.list_deliveries(**asked, before=first[-1].number, limit=99)

    assert numbers == sorted(numbers, reverse=True)
    assert [told.number for told in first + rest] == numbers
    assert len(numbers) > len(first) == 2


@pytest.mark.parametrize("was", [TAKEN, GIVEN_UP, again_at(NOW + 9999)], ids=str)
async def test_a_replayed_delivery_is_made_again(store, make_batch, was: Attempted):
    """Make a delivery pending and due at once, whatever became of it; its event keeps its id.

    Return it as it is afterwards, or None if there is none.
    """
    made = await one_delivery(store, make_batch)
    await store.record_attempt((await claim(store))[0], was, now=NOW)

    replayed = await store.replay_delivery(made.number, now=LATER)
    (claimed,) = await claim(store, now=LATER)

    assert replayed == claimed.delivery
    assert (replayed.event, replayed.number) == (made.event, made.number)
    assert (replayed.state, replayed.attempts) == (DeliveryState.PENDING, 0)
    assert (replayed.due_at, replayed.since, replayed.ended_at) == (LATER, LATER, None)
    assert await store.replay_delivery(made.number + 1, now=LATER) is None


async def test_a_replay_goes_to_where_the_endpoint_is_now(store, make_batch):
    """Who moved and asks for it again is not told at the old address."""
    made = await one_delivery(store, make_batch)
    await store.record_attempt((await claim(store))[0], GIVEN_UP, now=NOW)
    await update(store, url="https://new.example/hook")

    replayed = await store.replay_delivery(made.number, now=LATER)

    assert replayed.url == "https://new.example/hook"
    assert await claim(store, now=LATER, but=["https://new.example:443"]) == []


async def test_a_replay_takes_the_lease_of_who_is_at_it(store, make_batch):
    """Else it would count as one of the attempts before."""
    made = await one_delivery(store, make_batch)
    (claimed,) = await claim(store)

    await store.replay_delivery(made.number, now=NOW)
    noted = await store.record_attempt(claimed, GIVEN_UP, now=NOW)
    (again,) = await claim(store)

    assert not noted
    assert again.token > claimed.token


async def test_a_delivery_to_nobody_is_not_replayed(store, make_batch):
    """One whose endpoint is gone is returned unchanged."""
    made = await one_delivery(store, make_batch)
    await store.delete_endpoint("we_a", now=NOW)
    (before,) = await deliveries(store)

    assert await store.replay_delivery(made.number, now=LATER) == before

    assert await claim(store, now=LATER) == []
