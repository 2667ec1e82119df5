"""The open batches, followed by what changes."""

from __future__ import annotations

from batchline.model import Fault
from batchline.states import BatchStatus
from dispatcher.batches.open_batches import OpenBatches

NOW = 1_800_000_000


async def test_what_is_known_is_what_the_store_holds(store, make_batch):
    """After any changes, those of others included: the batches, their numbers, the lines left."""
    kept, gone = await make_batch(lines=8), await make_batch()
    follower = OpenBatches(store)
    first = await follower.read()
    new = await make_batch(lines=3)
    await store.break_batch(gone, Fault("x", "y"), now=NOW)
    await store.delete_batch(gone.id)
    news = await follower.read()

    assert [b.id for b in first.changed] == [kept.id, gone.id]
    assert ([b.id for b in news.changed], [b.id for b in news.ended]) == ([new.id], [gone.id])
    assert follower.get(kept.seq).id == kept.id
    assert follower.get(gone.seq) is None
    assert follower.by_status[BatchStatus.IN_PROGRESS] == 2
    assert follower.by_status[BatchStatus.VALIDATING] == 0
    assert follower.lines_left == 11


async def test_a_batch_that_nobody_knew_and_that_ended_is_no_news(store, make_batch):
    """It came and went between two reads."""
    follower = OpenBatches(store)
    await follower.read()
    await store.break_batch(await make_batch(), Fault("x", "y"), now=NOW)

    news = await follower.read()

    assert (news.changed, news.ended) == ([], [])


async def test_what_a_follower_that_fell_behind_still_knows_is_dropped(store, make_batch):
    """It is told of all open batches: the others have ended."""
    gone, kept = await make_batch(), await make_batch()
    follower = OpenBatches(store)
    await follower.read()
    await store.break_batch(gone, Fault("x", "y"), now=NOW)
    follower._number = None

    news = await follower.read()

    assert [b.id for b in news.ended] == [gone.id]
    assert follower.get(kept.seq) is not None
