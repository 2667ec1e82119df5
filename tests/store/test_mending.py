"""`Mending`: repairs of a store that nobody else has open. Docstrings are the contract's sentences."""

from __future__ import annotations

import pytest
from steps import NOW, leases, settle, status

from batchline.model import Slice
from batchline.states import BatchStatus


@pytest.fixture
async def store(engine):
    """A store under repair."""
    async with engine.mending() as opened:
        yield opened


async def settled(store, make_batch):
    """A batch whose three slices were settled, each in a segment of its own."""
    batch = await make_batch(lines=12)
    for lease in await leases(store, batch):
        await settle(store, batch, lease)
    return batch, [stored.number for stored in await store.segments(batch)]


async def test_indexes_are_made_anew(engine, store, make_batch):
    """Make all indexes anew; no row changes."""
    batch = await make_batch(lines=4)
    before = await store.changes(after=None)

    await store.reindex()

    assert await store.changes(after=None) == before
    async with engine.audit() as audit:
        assert await audit.integrity(quick=False) == []
    assert len(await leases(store, batch)) == 1


async def test_what_is_damaged_is_open_again(store, make_batch):
    """Bring all counts of an open batch in line with its outcomes; return how many lines reopened.

    A finalizing batch with such lines runs again, unless it lapsed; one without open lines drains.
    Only here counts may go down, and an ended state may be left.
    """
    batch, numbers = await settled(store, make_batch)

    assert await store.recount(batch, without=[numbers[1]], now=NOW) == 4

    reopened = await store.get_batch(batch.id)
    assert (reopened.status, reopened.counts.completed) == (BatchStatus.IN_PROGRESS, 8)
    assert [(s.lines_before, s.lines) for s in await store.segments(batch)] == [(0, 4), (4, 4)]
    (lease,) = await leases(store, batch)
    assert (lease.slice.first, lease.done) == (4, frozenset())
    await settle(store, batch, lease)
    assert await status(store, batch) is BatchStatus.FINALIZING


async def test_a_batch_that_lapsed_does_not_run_again(store, make_batch):
    """Its lines are expired."""
    batch = await make_batch(lines=8)
    first, _ = await leases(store, batch)
    await settle(store, batch, first)
    await store.lapse(now=batch.expires_at)
    (segment,) = await store.segments(batch)

    assert await store.recount(batch, without=[segment.number], now=NOW) == 4

    assert await status(store, batch) is BatchStatus.FINALIZING
    assert await leases(store, batch) == []


@pytest.mark.parametrize("lost", ["segments", "slices"])
async def test_outcomes_without_a_place_go_first(engine, store, make_batch, lost):
    """Outcomes without a segment or a slice go first, and those of the segments numbered `without`."""
    batch, _ = await settled(store, make_batch)
    if lost == "segments":
        engine.lose_segments()
    else:
        await store.recut(batch, (await store.slices(batch))[:2])

    reopened = await store.recount(batch, without=[], now=NOW)

    left = {"segments": [], "slices": list(range(8))}[lost]
    assert reopened == 12 - len(left)
    assert [row[0] for row in await store.outcomes(batch, start=0, stop=99)] == left
    assert (await store.get_batch(batch.id)).counts.completed == len(left)


async def test_slices_are_cut_anew(store, make_batch):
    """Replace all slices of an open batch; `recount` must follow."""
    batch = await make_batch(lines=8)
    first, _ = await leases(store, batch)
    await settle(store, batch, first)
    pieces = [Slice(batch.seq, 0, 6, 0, 60), Slice(batch.seq, 6, 2, 60, 20)]

    await store.recut(batch, pieces)
    assert await store.recount(batch, without=[], now=NOW) == 0

    assert await store.slices(batch) == pieces
    assert [lease.done for lease in await leases(store, batch)] == [{0, 1, 2, 3}, frozenset()]


async def test_rows_without_an_owner_are_dropped(engine, store, make_batch):
    """Drop rows of lines that no slice leads to; return how many."""
    batch, _ = await settled(store, make_batch)
    await store.recut(batch, [])

    assert await store.drop_ownerless(batch.seq) == 12 + 3  # outcomes, segments

    async with engine.audit() as audit:
        assert await audit.ownerless() == []


async def test_tokens_go_on_above_what_was_seen(store, make_batch):
    """Let fencing tokens go on above `least`, and never go back."""
    batch = await make_batch(lines=4)
    await store.raise_token(1000)
    await store.raise_token(10)

    (lease,) = await leases(store, batch)

    assert lease.token == 1001
