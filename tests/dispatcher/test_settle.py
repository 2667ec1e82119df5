"""The settler: groups, keeps what the disk refuses, flushes on stop."""

from __future__ import annotations

import asyncio

import pytest
from claims import claim_one
from waiting import turn, until

from batchline.errors import StoreUnavailable
from batchline.metrics import Metrics
from batchline.model import Outcome, Usage
from batchline.process import failpoints
from batchline.states import OutcomeKind
from dispatcher.sending.gate import Gate
from dispatcher.sending.memory import Memory
from dispatcher.sending.settle import Settler


class FullDisk:
    """Real blobs that refuse the first `refusals` segments, as a full disk does."""

    def __init__(self, blobs, refusals):
        self.blobs, self.refusals, self.segments = blobs, refusals, 0

    async def put_segment(self, prefix, records):
        if self.refusals:
            self.refusals -= 1
            raise StoreUnavailable("No space left on device")
        self.segments += 1
        return await self.blobs.put_segment(prefix, records)


@pytest.fixture(autouse=True)
def _disarmed():
    yield
    failpoints.arm("")


@pytest.fixture
def make_settler(store, clock):
    def make(blobs, **options):
        gate, settled = Gate(), []
        settler = Settler(
            store,
            blobs,
            gate=gate,
            memory=Memory(most_bytes=1 << 30),
            metrics=Metrics(),
            flush_s=0.01,
            clock=clock,
            retry_s=0.01,
            **options,
        )
        settler.subscribe(settled.extend)
        return settler, gate, settled

    return make


def outcome(index, kind=OutcomeKind.SUCCEEDED):
    usage = Usage(input_tokens=5, output_tokens=3) if kind is OutcomeKind.SUCCEEDED else Usage()
    return Outcome(index, kind, b"{}\n", usage)


async def test_a_group_is_one_segment_and_stopping_flushes(store, blobs, make_batch, make_settler):
    """All lines that came within flush_s share one sync and one commit."""
    counting = FullDisk(blobs, 0)
    settler, _, settled = make_settler(counting)
    batch = await make_batch(lines=8)
    leases = (await claim_one(store, batch, slices=2, holder="a", ttl_s=30)).leases
    running = asyncio.ensure_future(settler.run())

    for lease in leases:
        for index in range(lease.slice.first, lease.slice.first + 4):
            await settler.put(batch, lease, outcome(index))
    settler.stop()
    await running

    assert counting.segments == 1
    assert len(settled) == 8
    assert (await store.get_batch(batch.id)).counts.completed == 8


async def test_what_the_disk_refuses_is_kept_and_stored_later(
    store, blobs, make_batch, make_settler
):
    """Dispatch pauses with the reason; nothing is lost."""
    settler, gate, settled = make_settler(FullDisk(blobs, 3))
    batch = await make_batch(lines=4)
    (lease,) = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases
    running = asyncio.ensure_future(settler.run())
    await settler.put(batch, lease, outcome(0))

    reasons = []
    await until(lambda: reasons.append(gate.reason) or settled, every_s=0.002)
    settler.stop()
    await running

    assert any(r and "No space left" in r for r in reasons)
    assert gate.is_open
    assert (await store.get_batch(batch.id)).counts.completed == 1


async def test_an_error_after_the_commit_settles_nothing_twice(
    store, blobs, make_batch, make_settler
):
    """The group is tried again, as after any error; part of a slice stays leased meanwhile."""
    failpoints.arm("settle.committed=error")
    settler, _, settled = make_settler(blobs)
    batch = await make_batch(lines=4)
    (lease,) = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases
    running = asyncio.ensure_future(settler.run())
    await settler.put(batch, lease, outcome(0))

    await until(lambda: settled or running.done())
    settler.stop()
    await running

    assert (await store.get_batch(batch.id)).counts.completed == 1


async def test_bytes_that_are_durable_are_not_written_again(store, blobs, make_batch, make_settler):
    """A database that refuses for an hour must not fill the disk with copies of the same results."""
    counting = FullDisk(blobs, 0)
    settler, _, settled = make_settler(counting)
    batch = await make_batch(lines=4)
    (lease,) = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases
    failpoints.arm("settle.rows=error@*")
    try:
        running = asyncio.ensure_future(settler.run())
        await settler.put(batch, lease, outcome(0))
        await until(lambda: failpoints._armed["settle.rows"].passes >= 3)
    finally:
        failpoints.arm("")
    await until(lambda: settled)
    settler.stop()
    await running

    assert counting.segments == 1
    assert (await store.get_batch(batch.id)).counts.completed == 1


async def test_dispatch_goes_on_only_once_all_that_waited_is_stored(
    store, blobs, make_batch, make_settler
):
    """A lease may have lapsed meanwhile: whoever claims first has the line."""
    disk = FullDisk(blobs, 1_000_000)
    settler, gate, settled = make_settler(disk)
    opened = []

    settler.subscribe(lambda _: opened.append(gate.is_open))
    batch = await make_batch(lines=4)
    (lease,) = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases
    running = asyncio.ensure_future(settler.run())
    await settler.put(batch, lease, outcome(0))
    await until(lambda: not gate.is_open)
    await settler.put(batch, lease, outcome(1))
    disk.refusals = 0
    await until(lambda: len(settled) == 2)
    settler.stop()
    await running

    assert opened == [False, True]


async def test_a_full_queue_holds_the_caller_back(store, blobs, make_batch, make_settler):
    """Back-pressure instead of buffering."""
    settler, _, _ = make_settler(blobs, max_pending=2)
    batch = await make_batch(lines=4)
    (lease,) = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases
    await settler.put(batch, lease, outcome(0))
    await settler.put(batch, lease, outcome(1))

    third = asyncio.ensure_future(settler.put(batch, lease, outcome(2)))
    await turn()
    assert not third.done()
    running = asyncio.ensure_future(settler.run())
    await asyncio.wait_for(third, 60)
    settler.stop()
    await running


async def test_who_leaves_a_full_queue_takes_its_bytes_along(
    store, blobs, make_batch, make_settler
):
    """A line that is cancelled while it waits for room holds no memory."""
    settler, _, _ = make_settler(blobs, max_pending=1)
    batch = await make_batch(lines=4)
    (lease,) = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases
    await settler.put(batch, lease, outcome(0))
    held = settler._memory.held_bytes
    waiting = asyncio.ensure_future(settler.put(batch, lease, outcome(1)))
    await turn()
    waiting.cancel()
    await asyncio.wait([waiting])

    assert waiting.cancelled()
    assert settler._memory.held_bytes == held


async def test_who_stops_while_the_disk_refuses_gives_up_what_waits(
    store, blobs, make_batch, make_settler, caplog
):
    """It says how many results will be asked for again, and does not wait for the disk."""
    settler, gate, settled = make_settler(FullDisk(blobs, 1 << 30))
    batch = await make_batch(lines=4)
    (lease,) = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases
    await settler.put(batch, lease, outcome(0))
    settler.stop()

    await asyncio.wait_for(settler.run(), 60)

    assert "1 results are given up and will be asked for again" in caplog.text
    assert (settled, gate.is_open) == ([], False)


async def test_only_what_the_store_accepted_is_counted(store, blobs, make_batch, make_settler):
    """Lines of a lost lease count neither as finished nor by their tokens."""
    settler, _, settled = make_settler(blobs)
    batch = await make_batch(lines=8)
    kept, lost = (await claim_one(store, batch, slices=2, holder="a", ttl_s=30)).leases
    await store.release([lost])
    running = asyncio.ensure_future(settler.run())

    await settler.put(batch, kept, outcome(0))
    await settler.put(batch, kept, outcome(1, OutcomeKind.FAILED))
    await settler.put(batch, lost, outcome(4))
    await settler.put(batch, lost, outcome(5, OutcomeKind.FAILED))
    settler.stop()
    await running

    value = settler._metrics.registry.get_sample_value
    assert len(settled) == 4
    assert value("batchline_requests_finished_total", {"outcome": "succeeded"}) == 1
    assert value("batchline_requests_finished_total", {"outcome": "failed"}) == 1
    assert value("batchline_prompt_tokens_total") == 5
    assert value("batchline_completion_tokens_total") == 3
