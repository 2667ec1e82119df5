"""Cancel through the real dispatcher in the states that pass quickly: finalizing and cancelling."""

from __future__ import annotations

import time

import pytest

from batchline.blobs.keys import segments_prefix
from batchline.input_file import Limits
from batchline.lines import answer_record
from batchline.metrics import Metrics
from batchline.model import Outcome, Settlement, request_id
from batchline.states import BatchStatus, OutcomeKind
from dispatcher.admit import Admission
from dispatcher.publish import Publisher


async def nothing_known():
    return None


async def finalizing(bench, lines=5):
    """Bring a batch to `finalizing` by hand: admitted, all lines settled, not yet published."""
    batch = await bench.submit(lines)
    limits = Limits(lines=1000, line_bytes=10_000, faults=50)
    admission = Admission(
        bench.store,
        bench.blobs,
        limits=limits,
        one_model=False,
        served=nothing_known,
        clock=time.time,
    )
    await admission.admit(batch)
    claim = await bench.store.claim(batch, slices=9, holder="t", ttl_s=30)
    outcomes = [
        Outcome(
            n,
            OutcomeKind.SUCCEEDED,
            answer_record(
                request_id(batch.id, n), f"id-{n}", status=200, upstream_id="u", body=b"{}"
            ),
        )
        for n in range(lines)
    ]
    segment = await bench.blobs.put_segment(
        segments_prefix(batch.id), [(o.index, o.record) for o in outcomes]
    )
    settlement = Settlement(batch.seq, segment, [(claim.leases[0], outcomes)])
    await bench.store.settle([settlement], now=int(time.time()))
    batch = await bench.store.get_batch(batch.id)
    assert batch.status is BatchStatus.FINALIZING
    return batch


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
        bench.store, bench.blobs, metrics=Metrics(), min_free_bytes=0, file_ttl_s=0, clock=time.time
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
