"""Cancel through the real dispatcher in the states that pass quickly: finalizing and cancelling."""

from __future__ import annotations

import time

import pytest
from bench import finalizing

from batchline.clock import Clock
from batchline.metrics import Metrics
from batchline.states import BatchStatus
from dispatcher.batches.publish import Publisher


@pytest.mark.spec("3.4-finalizing", "3.5-cancelled")
async def test_a_cancel_while_finalizing_keeps_everything_that_was_done(bench, upstream):
    """Cancelled just before publishing: `cancelled`, and every result is in the output file."""
    batch = await finalizing(bench)

    shown = await bench.store.cancel_batch(batch.id, now=batch.finalizing_at)
    async with bench.running():
        ended = await bench.ended(batch)

    assert (shown.status, shown.cancelling_at) == (BatchStatus.CANCELLING, batch.finalizing_at)
    assert ended.status is BatchStatus.CANCELLED
    assert (ended.counts.total, ended.counts.completed) == (5, 5)
    output, errors = await bench.results(ended)
    assert ([r["custom_id"] for r in output], errors) == ([f"id-{n}" for n in range(5)], [])
    assert (ended.finalizing_at, ended.completed_at) == (batch.finalizing_at, None)
    assert not upstream.seen


async def test_a_publish_under_way_loses_to_a_cancel_and_leaves_no_trace(bench, upstream):
    """It began while finalizing and ends after the cancel: no file, no end; then it is cancelled."""
    batch = await finalizing(bench)
    await bench.store.cancel_batch(batch.id, now=batch.finalizing_at)
    publisher = Publisher(
        bench.store, bench.blobs, metrics=Metrics(), min_free_bytes=0, file_ttl_s=0, clock=Clock()
    )

    await publisher.publish(batch)

    after = await bench.store.get_batch(batch.id)
    assert (after.status, after.output_file_id) == (BatchStatus.CANCELLING, None)
    async with bench.running():
        ended = await bench.ended(batch)
    assert ended.status is BatchStatus.CANCELLED
    assert len((await bench.results(ended))[0]) == 5
    files = await bench.store.list_files(
        now=int(time.time()), after=None, limit=100, ascending=False, purpose="batch_output"
    )
    assert [f.id for f in files.items] == [ended.output_file_id]


async def test_a_second_cancel_changes_neither_stamp_nor_status(bench, upstream):
    """While cancelling and when cancelled."""
    batch = await bench.submit(3)
    first = await bench.store.cancel_batch(batch.id, now=batch.created_at + 1)
    second = await bench.store.cancel_batch(batch.id, now=batch.created_at + 9)
    async with bench.running():
        ended = await bench.ended(batch)
    third = await bench.store.cancel_batch(batch.id, now=batch.created_at + 99)

    assert second == first
    assert third == ended
    assert ended.cancelling_at == first.cancelling_at
