"""`Lookup.segments` and `Results`. Docstrings are the contract's sentences."""

from __future__ import annotations

import pytest
from steps import finish, leases, settle, settlement

from batchline.states import OUTCOME_CODES, OutcomeKind


@pytest.fixture
async def batch(store, make_batch):
    """A batch of twelve lines; the second slice was settled first, then half of the first slice."""
    made = await make_batch(lines=12)
    first, second, _ = await leases(store, made)
    await settle(store, made, second, kind=OutcomeKind.FAILED)
    await settle(store, made, first, [1, 3])
    return made


async def numbers(store, batch, **page):
    return [(s.lines_before, s.lines) for s in await store.segments(batch, **page)]


async def test_segments_are_found_by_the_numbers_of_their_lines(store, batch, make_batch):
    """Return the segments that hold lines numbered above `after`, by number, at most `limit`.

    Lines are numbered from 1 by when they were settled; `Segment` tells the numbers of its own.
    """
    stored = await store.segments(batch)

    assert [(s.lines_before, s.lines) for s in stored] == [(0, 4), (4, 2)]
    assert stored[0].ref == settlement(batch).segment
    assert stored[0].number < stored[1].number
    assert await numbers(store, batch, limit=1) == [(0, 4)]
    assert await numbers(store, batch, after=3) == [(0, 4), (4, 2)]
    assert await numbers(store, batch, after=4) == [(4, 2)]
    assert await numbers(store, batch, after=6) == []
    assert await numbers(store, await make_batch(lines=4)) == []


async def test_the_lines_of_a_segment(store, batch):
    """Return those of `lines` whose outcome lies in the segment of that number."""
    one, two = (stored.number for stored in await store.segments(batch))

    assert await store.lines_of_segment(batch, segment=one, lines=[1, 4, 7, 8]) == {4, 7}
    assert await store.lines_of_segment(batch, segment=two, lines=[0, 1, 4]) == {1}


async def test_finished_lines_come_in_input_order(store, batch):
    """Return (index, outcome code, segment) of finished lines `index >= start`, in input order.

    At most `limit`, and of them the first.
    """
    one, two = await store.segments(batch)
    good, bad = OUTCOME_CODES[OutcomeKind.SUCCEEDED], OUTCOME_CODES[OutcomeKind.FAILED]

    assert await store.finished_lines(batch, start=0, limit=3) == [
        (1, good, two),
        (3, good, two),
        (4, bad, one),
    ]
    rest = await store.finished_lines(batch, start=5, limit=9)
    assert [line for line, *_ in rest] == [5, 6, 7]


async def test_rows_of_an_ended_batch_go(store, make_batch):
    """Rows of an ended batch go piece by piece: what is read holds only if the batch is open afterwards."""
    batch = await make_batch(lines=12)
    await finish(store, batch)

    await store.prune(limit=5)
    some = await store.finished_lines(batch, start=0, limit=99)
    while await store.prune(limit=5):
        pass

    assert len(some) == 7
    assert await store.finished_lines(batch, start=0, limit=99) == []
    assert await store.segments(batch) == []
