"""`Conduct.changes`: everything that a follower must know, told once or twice, never missed.

Docstrings are the contract's sentences.
"""

from __future__ import annotations

import pytest
from steps import NOW, leases, settle

from batchline.model import Fault
from batchline.states import BatchStatus


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


async def settle_a_line(store, batch):
    await settle(store, batch, (await leases(store, batch, slices=1))[0], [0])


async def die(store, batch):
    await leases(store, batch, slices=1, holder="host/a")
    await store.recover("host/", died=True)


async def forget_deaths(store, batch):
    for _ in range(2):
        await die(store, batch)
    await settle_a_line(store, batch)


@pytest.mark.parametrize(
    "change", [cancel, pause, resume, set_aside, lapse, settle_a_line, die, forget_deaths]
)
async def test_a_change_is_told_with_the_batch_as_it_is_now(store, make_batch, change):
    """A new batch, a status, a pause, a count and a death are changes, whichever process made them."""
    await make_batch(lines=4, expires_in_s=2 * 86400)
    batch = await make_batch(lines=8)
    await make_batch()
    before = await store.changes(after=None)

    await change(store, batch)
    told = await store.changes(after=before.number)

    assert told.open == [await store.get_batch(batch.id)]
    assert (told.ended, told.is_all) == (frozenset(), False)


async def test_at_first_every_open_batch_is_told(store, make_batch):
    """Return the batches that changed after the change number `after`; with None, all open ones."""
    batches = [await make_batch(), await make_batch(lines=4), await make_batch()]
    await store.reject(batches[0], [Fault("x", "y")], now=NOW)

    told = await store.changes(after=None)

    assert told.is_all
    assert [b.id for b in told.open] == [b.id for b in batches[1:]]


async def test_a_new_batch_and_one_that_was_accepted_are_told(store, make_batch):
    """One may be told of twice. In one answer each is told once, however often it changed."""
    before = await store.changes(after=None)
    batch = await make_batch(lines=4)

    told = await store.changes(after=before.number)

    assert [(b.id, b.status) for b in told.open] == [(batch.id, BatchStatus.IN_PROGRESS)]


async def test_what_did_not_change_is_not_told(store, make_batch):
    """It costs what changed, however many are open (docs/decisions/018).

    Neither a second question nor a claim makes a change.
    """
    batch = await make_batch(lines=4)
    before = await store.changes(after=None)

    await leases(store, batch, slices=1)
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


async def test_who_is_far_behind_is_told_of_every_open_batch(engine, store, make_batch):
    """Where `after` is too long ago to be known, all open ones are told."""
    batch, gone = await make_batch(lines=4), await make_batch()
    before = await store.changes(after=None)
    await store.break_batch(gone, Fault("x", "y"), now=NOW)
    engine.forget_changes()
    new = await make_batch()

    told = await store.changes(after=before.number)

    assert told.is_all
    assert [b.id for b in told.open] == [batch.id, new.id]
    assert (await store.changes(after=told.number)).open == []


async def test_another_process_is_followed_too(engine, store, make_batch):
    """The gateway writes, the dispatcher reads."""
    before = await store.changes(after=None)
    batch = await make_batch(lines=4)
    async with engine.open() as other:
        told = await other.changes(after=before.number)

    assert [b.id for b in told.open] == [batch.id]
