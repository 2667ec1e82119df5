"""The database file shrinks after pruning, in small steps, when nothing else is to be done."""

from __future__ import annotations

import pytest
from claims import claim_one

from batchline.metrics import Metrics
from batchline.model import Outcome, SegmentRef, Settlement
from batchline.states import BatchStatus, OutcomeKind
from dispatcher.upkeep.vacuum import Compaction

LINES = 40_000


@pytest.fixture
async def pruned(tmp_path, store, make_batch):
    """A database most of whose pages are unused; returns its file."""
    batch = await make_batch(lines=LINES, slice_lines=1000)
    for lease in (await claim_one(store, batch, slices=99, holder="a", ttl_s=30)).leases:
        lines = range(lease.slice.first, lease.slice.first + lease.slice.count)
        outcomes = [Outcome(i, OutcomeKind.SUCCEEDED, b"") for i in lines]
        ref = SegmentRef("segments/x", 0, 1)
        await store.settle([Settlement(batch.seq, ref, [(lease, outcomes)])], now=1)
    await store.close(batch, BatchStatus.COMPLETED, output=None, error=None, now=1)
    while await store.prune(limit=LINES):
        pass
    await store.checkpoint()
    return tmp_path / "batchline.sqlite3"


SMALL_STEPS = {"pages_at_once": 5, "kept_pages": 10}


async def test_an_idle_database_gives_its_unused_pages_back(pruned, store):
    """Piece by piece down to a small reserve, then the file itself is cut."""
    metrics = Metrics()
    compaction = Compaction(store, metrics=metrics, is_idle=lambda: True, **SMALL_STEPS)
    before = await store.backlog()
    full_bytes = pruned.stat().st_size

    rests = [await compaction.step()]
    while rests[-1] < 1:
        rests.append(await compaction.step())
    after = await store.backlog()

    assert len(rests) - 1 == -(-(before.free_pages - 10) // 5)
    assert after.free_pages <= 10
    assert after.log_bytes == 0
    assert pruned.stat().st_size < full_bytes / 2
    await compaction.step()
    value = metrics.registry.get_sample_value
    assert value("batchline_vacuumed_pages_total") == before.pages - after.pages
    assert value("batchline_database_bytes") == pruned.stat().st_size
    assert value("batchline_database_wal_bytes") == 0


async def test_under_load_pages_are_left_for_the_next_lines(pruned, store, make_batch):
    """Unless more than half of the file is unused."""
    compaction = Compaction(store, metrics=Metrics(), is_idle=lambda: False, **SMALL_STEPS)

    while await compaction.step() < 1:
        pass
    backlog = await store.backlog()

    assert backlog.pages / 2 - 5 <= backlog.free_pages <= backlog.pages / 2


async def test_a_long_log_is_emptied(store, make_batch):
    """Even without anything to vacuum."""
    await make_batch(lines=1000)
    assert (await store.backlog()).log_bytes > 10_000

    compaction = Compaction(store, metrics=Metrics(), is_idle=lambda: False, log_bytes=10_000)
    await compaction.step()

    assert (await store.backlog()).log_bytes == 0
