"""Which batches changed: everything that a follower must know, told once or twice, never missed."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from claims import claim_one

from batchline.model import Fault, Outcome, SegmentRef, Settlement
from batchline.states import BatchStatus, OutcomeKind
from batchline.store import open_store

NOW = 1_800_000_000


async def cancel(store, batch):
    await store.cancel_batch(batch.id, now=NOW)


async def pause(store, batch):
    await store.pause_batch(batch.id, now=NOW)


async def resume(store, batch):
    await pause(store, batch)
    await store.resume_batch(batch.id)


async def set_aside(store, batch):
    await store.set_aside(batch, Fault("x", "y"), now=NOW)


async def lapse(store, batch):
    await store.lapse(now=batch.expires_at)


async def settle(store, batch):
    claim = await claim_one(store, batch, slices=1, holder="a", ttl_s=30)
    outcome = Outcome(0, OutcomeKind.SUCCEEDED, b"{}\n")
    settlement = Settlement(
        batch.seq, SegmentRef("segments/x", 0, 10), [(claim.leases[0], [outcome])]
    )
    await store.settle([settlement], now=NOW)


async def die(store, batch):
    await claim_one(store, batch, slices=1, holder="host/a", ttl_s=30)
    await store.recover("host/", died=True)


async def forget_deaths(store, batch):
    for _ in range(2):
        await die(store, batch)
    await settle(store, batch)


@pytest.mark.parametrize(
    "change", [cancel, pause, resume, set_aside, lapse, settle, die, forget_deaths]
)
async def test_a_change_is_told_with_the_batch_as_it_is_now(store, make_batch, change):
    """And none of the batches that did not change."""
    await make_batch(lines=4, expires_in_s=2 * 86400)
    batch = await make_batch(lines=8)
    await make_batch()
    before = await store.changes(after=None)

    await change(store, batch)
    told = await store.changes(after=before.number)

    assert told.open == [await store.get_batch(batch.id)]
    assert (told.ended, told.is_all) == (frozenset(), False)


async def test_at_first_every_open_batch_is_told(store, make_batch):
    """Oldest first; none that has ended."""
    batches = [await make_batch(), await make_batch(lines=4), await make_batch()]
    await store.reject(batches[0], [Fault("x", "y")], now=NOW)

    told = await store.changes(after=None)

    assert told.is_all
    assert [b.id for b in told.open] == [b.id for b in batches[1:]]


async def test_a_new_batch_and_one_that_was_accepted_are_told(store, make_batch):
    """Each once, however often it changed meanwhile."""
    before = await store.changes(after=None)
    batch = await make_batch(lines=4)

    told = await store.changes(after=before.number)

    assert [(b.id, b.status) for b in told.open] == [(batch.id, BatchStatus.IN_PROGRESS)]


async def test_what_did_not_change_is_not_told(store, make_batch):
    """Neither by a second question nor because lines were claimed."""
    batch = await make_batch(lines=4)
    before = await store.changes(after=None)

    await claim_one(store, batch, slices=1, holder="a", ttl_s=30)
    await store.begin(batch, holder="a")
    told = await store.changes(after=before.number)

    assert (told.open, told.ended, told.number) == ([], frozenset(), before.number)


@pytest.mark.parametrize("is_deleted", [False, True])
async def test_a_batch_that_ended_is_told_even_if_it_is_gone(store, make_batch, is_deleted):
    """Else whoever follows would have it for ever."""
    batch = await make_batch()
    before = await store.changes(after=None)

    await store.break_batch(batch, Fault("x", "y"), now=NOW)
    if is_deleted:
        await store.delete_batch(batch.id)
    told = await store.changes(after=before.number)

    assert (told.open, told.ended) == ([], frozenset({batch.seq}))


async def test_who_is_far_behind_is_told_of_every_open_batch(store, make_batch, tmp_path):
    """Changes that long ago are forgotten."""
    batch, gone = await make_batch(lines=4), await make_batch()
    before = await store.changes(after=None)
    await store.break_batch(gone, Fault("x", "y"), now=NOW)
    with closing(sqlite3.connect(tmp_path / "batchline.sqlite3")) as other, other:
        other.execute("UPDATE sqlite_sequence SET seq = seq + 200000 WHERE name = 'batch_changes'")
    new = await make_batch()

    told = await store.changes(after=before.number)

    assert told.is_all
    assert [b.id for b in told.open] == [batch.id, new.id]
    assert (await store.changes(after=told.number)).open == []


async def test_another_process_is_followed_too(store, make_batch, tmp_path):
    """The gateway writes, the dispatcher reads."""
    before = await store.changes(after=None)
    batch = await make_batch(lines=4)
    async with open_store(tmp_path / "batchline.sqlite3", clock_ms=lambda: 0) as other:
        told = await other.changes(after=before.number)

    assert [b.id for b in told.open] == [batch.id]
