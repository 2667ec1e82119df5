"""`Conduct`, but for `changes`: every move of a batch. Docstrings are the contract's sentences."""

from __future__ import annotations

import asyncio

import pytest
from steps import NOW, file, leases, settle, status
from waiting import turn

from batchline.api.appends import Append, AppendedLine, AppendLimits, Appends
from batchline.blobs.keys import segments_prefix
from batchline.model import Fault, Slice
from batchline.states import BatchStatus

FAULT = Fault("invalid_json_line", "No.", 3, "url")


def pieces(batch, *firsts):
    return [Slice(batch.seq, first, 4, first * 10, 40) for first in firsts]


async def test_a_wait_ends_when_another_process_writes(engine, store):
    """Return when something may have changed, or after `timeout_s`.

    That is: another process wrote, or here a batch was accepted, rejected, appended to or drained.
    """
    await store.wait_for_work(timeout_s=0)
    waiting = asyncio.ensure_future(store.wait_for_work(timeout_s=600))
    async with engine.open() as gateway:
        await gateway.add_file(file())
        await asyncio.wait_for(waiting, 60)


@pytest.mark.parametrize("move", ["accepted", "rejected", "appended to", "drained"])
async def test_a_wait_ends_when_a_batch_moves_on_here(store, make_batch, move):
    """The next step need not wait for the next look."""
    batch, other = await make_batch(), await make_batch(lines=4)
    growing = await make_batch(appends=Appends())
    await store.add_slices(pieces(batch, 0))
    (last,) = await leases(store, other)
    await store.wait_for_work(timeout_s=0)
    await store.wait_for_work(timeout_s=0)
    waiting = asyncio.ensure_future(store.wait_for_work(timeout_s=600))

    match move:
        case "accepted":
            assert await store.accept(batch, total=4, model="m", now=NOW)
        case "rejected":
            assert await store.reject(batch, [FAULT], now=NOW)
        case "appended to":
            added = Append(1, [AppendedLine(b"a", 0, 10)], "m")
            await store.append(growing.id, added, limits=AppendLimits(9, 99), now=NOW)
        case _:
            await settle(store, other, last)

    await asyncio.wait_for(waiting, 60)


async def test_a_wait_can_be_cancelled(store, make_batch):
    """It may be cancelled at any time, also when work comes."""
    batch = await make_batch()
    await store.wait_for_work(timeout_s=0)
    await store.wait_for_work(timeout_s=0)
    waiting = asyncio.ensure_future(store.wait_for_work(timeout_s=600))
    await turn()  # it has begun

    await store.reject(batch, [FAULT], now=NOW)
    waiting.cancel()  # in the very moment in which work has come

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_begin_notes_who_works_on_a_batch(store, make_batch):
    """Note who works on a batch that is not in progress: there the leases tell."""
    validating, running = await make_batch(), await make_batch(lines=4)
    assert await store.begin(validating, holder="a/1")
    assert await store.begin(running, holder="a/1")

    await store.recover("a/", died=True)

    deaths = [(await store.get_batch(b.id)).deaths for b in (validating, running)]
    assert deaths == [1, 0]


async def test_admission_starts_over_after_a_torn_one(store, make_batch):
    """Drops slices of an earlier, torn admission. False if its status is another one by now."""
    batch = await make_batch()
    await store.add_slices(pieces(batch, 0))

    assert await store.begin(batch, holder="a")
    assert await store.slices(batch) == []
    await store.cancel_batch(batch.id, now=NOW)
    assert not await store.begin(batch, holder="a")


async def test_slices_are_added_while_a_batch_is_validating(store, make_batch):
    """Insert slices of one validating batch; False if it is no longer `validating`."""
    batch = await make_batch()

    assert await store.add_slices(pieces(batch, 4, 0))
    assert await store.slices(batch) == pieces(batch, 0, 4)
    await store.cancel_batch(batch.id, now=NOW)
    assert not await store.add_slices(pieces(batch, 8))
    assert await store.slices(batch) == pieces(batch, 0, 4)


async def test_an_accepted_batch_runs(store, make_batch):
    """Validating → in_progress, with its number of lines, and with the last of its slices."""
    batch = await make_batch()
    await store.add_slices(pieces(batch, 0))

    assert await store.accept(batch, total=8, model="m", now=NOW + 1, slices=pieces(batch, 4))

    running = await store.get_batch(batch.id)
    assert (running.status, running.in_progress_at) == (BatchStatus.IN_PROGRESS, NOW + 1)
    assert (running.counts.total, running.model) == (8, "m")
    assert await store.slices(batch) == pieces(batch, 0, 4)


async def test_two_who_admit_the_same_batch_lose_no_slice(store, make_batch):
    """Slices that are there stay: who admits it, too, cuts it alike.

    False on a lost race: it is no longer `validating`, or another dispatcher began to admit it anew
    and has not added all of its slices.
    """
    batch = await make_batch()

    async def accept():
        return await store.accept(batch, total=8, model="m", now=NOW)

    await store.begin(batch, holder="a")
    await store.add_slices(pieces(batch, 0))
    await store.begin(batch, holder="b")
    await store.add_slices(pieces(batch, 4))
    too_early = await accept()
    await store.add_slices(pieces(batch, 0, 4))

    assert not too_early
    assert await accept()
    assert await store.slices(batch) == pieces(batch, 0, 4)
    assert not await accept()


async def test_a_rejected_batch_keeps_its_faults(store, make_batch):
    """Validating → failed, with its faults; False on a lost race."""
    batch = await make_batch()
    faults = [FAULT, Fault("invalid_url", "No.")]

    assert await store.reject(batch, faults, now=NOW + 1)

    failed = await store.get_batch(batch.id)
    assert (failed.status, failed.failed_at) == (BatchStatus.FAILED, NOW + 1)
    assert failed.faults == faults
    assert not await store.reject(batch, [], now=NOW)


async def test_any_open_batch_can_break(store, make_batch):
    """Any open state → failed: the batch can never end well (input lost). False if it has ended.

    Its slices are revoked.
    """
    validating, running = await make_batch(), await make_batch(lines=4)
    finalizing, cancelling = await make_batch(lines=4), await make_batch(lines=4)
    held, (last,) = await leases(store, running), await leases(store, finalizing)
    await settle(store, finalizing, last)
    await store.cancel_batch(cancelling.id, now=NOW)
    batches = (validating, running, finalizing, cancelling)

    assert [await store.break_batch(b, FAULT, now=NOW) for b in batches] == [True] * 4

    assert [await status(store, b) for b in batches] == [BatchStatus.FAILED] * 4
    assert (await store.get_batch(running.id)).faults == [FAULT]
    assert (await settle(store, running, held[0])).lines == 0
    assert {segments_prefix(b.id) for b in batches} == set(await store.garbage(limit=99))
    assert not await store.break_batch(running, FAULT, now=NOW)


async def test_a_running_batch_is_set_aside_with_the_reason(store, make_batch):
    """Pause a running batch on our own account, with the reason as its fault.

    Resuming forgets the reason.
    """
    batch = await make_batch(lines=4)

    assert await store.set_aside(batch, FAULT, now=NOW + 1)

    paused = await store.get_batch(batch.id)
    assert (paused.paused_at, paused.faults) == (NOW + 1, [FAULT])
    assert await leases(store, batch) == []
    await store.resume_batch(batch.id)
    assert (await store.get_batch(batch.id)).faults is None


async def test_only_a_running_batch_is_set_aside(store, make_batch):
    """False if it does not run, or is paused."""
    validating, paused = await make_batch(), await make_batch(lines=4)
    await store.pause_batch(paused.id, now=NOW)

    assert not await store.set_aside(validating, FAULT, now=NOW)
    assert not await store.set_aside(paused, FAULT, now=NOW + 9)
    assert (await store.get_batch(paused.id)).paused_at == NOW


async def test_batches_lapse_at_their_deadline(store, make_batch):
    """in_progress → finalizing for batches whose `expires_at` has come; return their ids.

    Their slices are revoked.
    """
    batch = await make_batch(lines=8, expires_in_s=100)
    await make_batch(expires_in_s=100)  # not in progress
    lease = (await leases(store, batch, slices=1, ttl_s=3000))[0]

    assert await store.lapse(now=NOW + 99) == []
    assert await store.lapse(now=NOW + 100) == [batch.id]

    assert await status(store, batch) is BatchStatus.FINALIZING
    assert (await settle(store, batch, lease)).lines == 0
    assert await store.lapse(now=NOW + 100) == []
