"""Publishing again after the database refused: what is written is not written twice."""

from __future__ import annotations

import pytest
from bench import finalizing

from batchline.blobs.keys import result_key
from batchline.clock import Clock
from batchline.errors import StoreUnavailable
from batchline.metrics import Metrics
from batchline.process import failpoints
from batchline.states import BatchStatus
from dispatcher.batches.publish import Publisher


async def refused(bench, **lines):
    """Return a finalizing batch whose files are written and whose closing was refused, and its publisher."""
    batch = await finalizing(bench, **lines)
    publisher = Publisher(
        bench.store, bench.blobs, metrics=Metrics(), min_free_bytes=0, file_ttl_s=0, clock=Clock()
    )
    failpoints.arm("publish.rows=error")
    try:
        with pytest.raises(StoreUnavailable):
            await publisher.publish(batch)
    finally:
        failpoints.arm("")
    return batch, publisher


def output_of(bench, batch):
    return bench.tmp_path / "blobs" / result_key(batch.id, "output")


async def closed(bench, batch, publisher):
    await publisher.publish(batch)
    ended = await bench.store.get_batch(batch.id)
    assert ended.status is BatchStatus.COMPLETED
    output, errors = await bench.results(ended)
    assert ([r["custom_id"] for r in output], errors) == ([f"id-{n}" for n in range(5)], [])


async def test_files_are_kept_while_the_closing_is_refused(bench):
    """A batch of 10 GB must not write them every second."""
    batch, publisher = await refused(bench)
    written = output_of(bench, batch).stat().st_ino

    await closed(bench, batch, publisher)

    assert output_of(bench, batch).stat().st_ino == written


async def test_files_that_have_gone_meanwhile_are_written_again(bench):
    """Housekeeping may have taken what no row names."""
    batch, publisher = await refused(bench)
    await bench.blobs.delete(result_key(batch.id, "output"))

    await closed(bench, batch, publisher)


async def test_a_cancel_meanwhile_publishes_anew(bench):
    """What became of its unrun lines is another thing now."""
    batch, publisher = await refused(bench, settled=3)
    cancelled = await bench.store.cancel_batch(batch.id, now=batch.created_at)

    await publisher.publish(cancelled)

    ended = await bench.store.get_batch(batch.id)
    _, errors = await bench.results(ended)
    assert ended.status is BatchStatus.CANCELLED
    assert [e["error"]["code"] for e in errors] == ["batch_cancelled"] * 2


async def test_a_publisher_that_comes_late_leaves_what_another_one_published(bench):
    """Stopped before it began, it wakes up when the batch has ended and its rows are gone."""
    batch = await finalizing(bench)
    metrics = Metrics()
    late = Publisher(
        bench.store, bench.blobs, metrics=metrics, min_free_bytes=0, file_ttl_s=0, clock=Clock()
    )
    first = Publisher(
        bench.store, bench.blobs, metrics=Metrics(), min_free_bytes=0, file_ttl_s=0, clock=Clock()
    )
    await closed(bench, batch, first)
    published = output_of(bench, batch).read_bytes()
    while await bench.store.prune(limit=1000):
        pass

    await late.publish(batch)

    assert output_of(bench, batch).read_bytes() == published
    alarms = metrics.registry.get_sample_value("batchline_conservation_violations_total")
    assert alarms == 0
