"""Below the watermark nothing new begins and nothing is lost; above it everything goes on."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from aiohttp import web
from scripted import completion
from waiting import until

from batchline.errors import DiskFull
from batchline.metrics import Metrics
from batchline.model import Counts, SegmentRef
from batchline.states import BatchStatus
from dispatcher.batches.publishing_space import DiskSpace, needed_bytes
from dispatcher.sending.gate import Cause, Gate
from dispatcher.upkeep.disk_watch import DiskWatch
from dispatcher.upkeep.housekeeping import Rests

MARK = 1_000_000


class Disk:
    """What the operating system says is free."""

    def __init__(self):
        self.free = 10 * MARK

    def free_bytes(self):
        return self.free


@pytest.fixture
def disk(bench):
    made = Disk()
    bench.instead("blobs", free_bytes=lambda _: made.free)
    bench.rests = Rests(disk_s=0.02)
    return made


@pytest.mark.parametrize(
    ("frees", "closed"),
    [
        ([MARK], [False]),
        ([MARK - 1], [True]),
        ([MARK - 1, MARK, MARK + 40_000, MARK + 50_000], [True, True, True, False]),
        ([MARK + 50_000, MARK + 1, MARK - 1], [False, False, True]),
    ],
    ids=["at the mark", "below it", "opens only with some room", "closes exactly at the mark"],
)
async def test_the_mark_has_a_small_hysteresis(frees, closed):
    """What was just freed must not be used up at once."""
    disk, gate = Disk(), Gate()
    watch = DiskWatch(disk, gate=gate, metrics=Metrics(), min_free_bytes=MARK)

    seen = []
    for disk.free in frees:
        await watch.step()
        seen.append(gate.has(Cause.DISK))

    assert seen == closed


async def test_without_a_mark_the_gate_stays_open():
    """0 means no such limit."""
    disk, gate = Disk(), Gate()
    disk.free = 0

    await DiskWatch(disk, gate=gate, metrics=Metrics(), min_free_bytes=0).step()

    assert gate.is_open


@pytest.mark.spec("beyond-disk-pause")
async def test_the_reason_names_figures_and_remedy_beside_other_reasons():
    """People see what is left, what is kept, what to do, and what else is wrong."""
    disk, gate = Disk(), Gate()
    disk.free = 400_000
    gate.close(Cause.NO_BACKEND, "No model server answers: gpu-0 answers 503.")

    await DiskWatch(disk, gate=gate, metrics=Metrics(), min_free_bytes=MARK).step()

    assert gate.reason == (
        "No model server answers: gpu-0 answers 503; Only 400 kB of disk space are left and "
        "1.0 MB are kept free: delete files or make room (BATCHLINE_MIN_FREE_BYTES)."
    )


async def paused(bench):
    report = await bench.store.fleet_report()
    return report is not None and "disk space" in (report.paused or "")


async def running_again(bench):
    return (await bench.store.fleet_report()).paused is None


@pytest.mark.spec("beyond-disk-pause")
async def test_dispatch_pauses_stores_what_was_in_flight_and_goes_on(bench, upstream, disk):
    """Sixteen in flight are answered and settled while it pauses; no further line is sent."""
    release = asyncio.Event()

    async def when_released(body, attempt):
        await release.wait()
        return web.json_response(completion())

    upstream.script = when_released
    batch = await bench.submit(100)
    async with bench.running(max_in_flight=16, min_free_bytes=MARK):

        async def is_full():
            return upstream.in_flight == 16

        await until(is_full)
        disk.free = MARK - 1
        await until(lambda: paused(bench))
        release.set()

        async def is_settled():
            return (await bench.store.get_batch(batch.id)).counts.completed == 16

        await until(is_settled)
        sent_while_paused = len(upstream.seen)
        metric = bench.metrics.registry.get_sample_value
        shown = metric("batchline_dispatch_paused", {"cause": "disk"})
        disk.free = 2 * MARK
        await until(lambda: running_again(bench))
        ended = await bench.ended(batch)

    assert sent_while_paused == 16
    assert shown == 1
    assert metric("batchline_disk_min_free_bytes") == MARK
    assert metric("batchline_disk_free_bytes") == 2 * MARK
    assert ended.counts.completed == 100
    assert set(upstream.seen.values()) == {1}


async def test_validation_waits_for_room_and_a_cancel_does_not(bench, upstream, disk):
    """Below the mark nothing begins; a batch that only has to end ends."""
    disk.free = MARK - 1

    async def are_open(**numbers):
        value = bench.metrics.registry.get_sample_value
        return all(value("batchline_batches", {"status": s}) == n for s, n in numbers.items())

    async with bench.running(min_free_bytes=MARK):
        await until(lambda: paused(bench))
        cancelled, new = await bench.submit(3), await bench.submit(3)
        await bench.store.cancel_batch(cancelled.id, now=int(bench.clock.now()))
        ended = [(await bench.ended(cancelled)).status]
        await until(lambda: are_open(validating=1, cancelling=0))
        another = await bench.submit(3)  # seen in a later look: the other has not moved since
        await until(lambda: are_open(validating=2))
        disk.free = 4 * MARK
        ended += [(await bench.ended(b)).status for b in (new, another)]

    assert ended == [BatchStatus.CANCELLED, BatchStatus.COMPLETED, BatchStatus.COMPLETED]


@pytest.mark.spec("beyond-disk-pause")
async def test_publishing_asks_for_room_and_says_that_it_waits(bench, upstream, disk):
    """Files that would not fit are not begun; half of the kept space is theirs."""
    mark = 10 * MARK

    async def becomes_full(body, attempt):
        disk.free = mark // 2 + MARK // 2  # half of the mark, and less than the files need
        return web.json_response(completion())

    async def waits():
        report = await bench.store.fleet_report()
        return report is not None and batch.id in report.waiting

    upstream.script = becomes_full
    disk.free = 2 * mark
    batch = await bench.submit(3)
    async with bench.running(min_free_bytes=mark):
        await until(waits)
        reason = (await bench.store.fleet_report()).waiting[batch.id]
        begun = [key async for keys in bench.blobs.keys("results/") for key in keys]
        disk.free = mark // 2 + 2 * MARK  # below the mark still
        ended = await bench.ended(batch)

        async def waits_no_more():
            return not (await bench.store.fleet_report()).waiting

        await until(waits_no_more)

    assert reason == (
        "Its result files need up to 1.0 MB of disk space, and 500 kB may be used for them. Delete "
        "files that are no longer needed, or give the data directory more room."
    )
    assert begun == []
    assert ended.counts.completed == 3


async def test_two_that_publish_at_once_do_not_count_on_the_same_room(make_batch, disk):
    """Each would fit alone."""
    disk_space = DiskSpace(disk, min_free_bytes=0)
    one, other = await make_batch(lines=4), await make_batch(lines=4)
    needed = needed_bytes(one, [])
    disk.free = needed * 3 // 2

    async with disk_space.reserved(needed):
        with pytest.raises(DiskFull, match="result files need"):
            async with disk_space.reserved(needed_bytes(other, [])):
                pass
    async with disk_space.reserved(needed):
        pass


@pytest.mark.parametrize(
    ("completed", "needed"),
    [(10, 10 * 16 + (1 << 20) + 5000), (4, 10 * 16 + (1 << 20) + 5000 + 6 * 512)],
    ids=["all ran", "six never ran"],
)
async def test_what_publishing_needs(make_batch, completed, needed):
    """Records as they lie in the segments, an index, a record for each line that never ran."""
    batch = replace(await make_batch(lines=10), counts=Counts(total=10, completed=completed))

    assert needed_bytes(batch, [SegmentRef("s", 0, 3000), SegmentRef("s", 3000, 2000)]) == needed
