"""The contract of `Work`: leases, fencing, settling, ends. Runs on the real engine."""

from __future__ import annotations

import asyncio

import pytest
from claims import claim_one
from waiting import until

from batchline.model import (
    Accepted,
    File,
    FleetReport,
    Outcome,
    SegmentRef,
    Settlement,
    Slice,
    Usage,
)
from batchline.states import BatchStatus, OutcomeKind

NOW = 1_800_000_000


def answered(index, kind=OutcomeKind.SUCCEEDED):
    return Outcome(index, kind, b"{}\n", Usage(output_tokens=2, total_tokens=2))


def settlement(batch, *groups):
    return Settlement(batch.seq, SegmentRef("segments/x", 0, 10), groups)


async def settle_all(store, batch, lease, kind=OutcomeKind.SUCCEEDED):
    lines = range(lease.slice.first, lease.slice.first + lease.slice.count)
    group = [answered(i, kind) for i in lines if i not in lease.done]
    return await store.settle([settlement(batch, (lease, group))], now=NOW)


async def test_claim_leases_in_file_order_and_only_once(store, make_batch):
    """Two claims never share a slice, and slices come in file order."""
    batch = await make_batch(lines=20)

    one = await claim_one(store, batch, slices=2, holder="a", ttl_s=30)
    two = await claim_one(store, batch, slices=9, holder="b", ttl_s=30)

    assert [x.slice.first for x in one.leases] == [0, 4]
    assert [x.slice.first for x in two.leases] == [8, 12, 16]


async def test_one_claim_leases_slices_of_several_batches(store, make_batch):
    """Of each as many as were asked for, in the order of the batches; none of one that may not run."""
    one, paused, two = [await make_batch(lines=20) for _ in range(3)]
    await store.pause_batch(paused.id, now=NOW)

    claim = await store.claim_each([(two, 2), (paused, 9), (one, 1)], holder="a", ttl_s=30)

    leased = [(lease.slice.batch_seq, lease.slice.first) for lease in claim.leases]
    assert leased == [(two.seq, 0), (two.seq, 4), (one.seq, 0)]


async def test_tokens_grow_with_every_claim(store, make_batch):
    """A fencing token is never used twice."""
    batch = await make_batch(lines=8)

    first = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases[0]
    await store.release([first])
    again = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases[0]

    assert again.slice == first.slice
    assert again.token > first.token


async def test_a_lapsed_lease_is_claimed_anew_and_its_settle_refused(store, make_batch, clock):
    """Whoever lost a lease can settle nothing under it."""
    batch = await make_batch(lines=4)
    old = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases[0]
    clock.advance(31)
    new = (await claim_one(store, batch, slices=1, holder="b", ttl_s=30)).leases[0]

    refused = await settle_all(store, batch, old)
    accepted = await settle_all(store, batch, new)

    assert refused == Accepted()
    assert accepted == Accepted(succeeded=4, usage=Usage(output_tokens=8, total_tokens=8))
    assert (await store.get_batch(batch.id)).counts.completed == 4


async def test_a_holder_never_claims_what_it_holds(store, make_batch, clock):
    """Its lease has run out by the clock, which may have jumped: others may have it, not itself again."""
    batch = await make_batch(lines=4)
    await claim_one(store, batch, slices=1, holder="a", ttl_s=30)
    clock.advance(3600)

    assert not (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases
    assert (await claim_one(store, batch, slices=1, holder="b", ttl_s=30)).leases


async def test_two_who_admit_the_same_batch_lose_no_slice(store, make_batch, clock):
    """One begins anew while the other is under way: nobody accepts what is not all there."""
    batch = await make_batch()
    pieces = [Slice(batch.seq, first, 4, first * 10, 10) for first in (0, 4)]

    async def accept():
        return await store.accept(batch, total=8, model="m", now=int(clock()))

    await store.begin(batch, holder="a")
    await store.add_slices(pieces[:1])
    await store.begin(batch, holder="a")  # the other one
    await store.add_slices(pieces[1:])
    too_early = await accept()
    await store.add_slices(pieces)  # the other one

    assert not too_early
    assert await accept()
    running = await store.get_batch(batch.id)
    assert [piece.first for piece in await store.slices(running)] == [0, 4]


async def test_a_renewed_lease_does_not_lapse(store, make_batch, clock):
    """Renewing in time keeps the slice."""
    batch = await make_batch(lines=4)
    lease = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases[0]
    clock.advance(20)
    assert await store.renew([lease], ttl_s=30) == set()
    clock.advance(20)

    assert not (await claim_one(store, batch, slices=1, holder="b", ttl_s=30)).leases


async def test_renew_names_the_leases_that_were_lost(store, make_batch):
    """A revoked slice is reported to its holder."""
    batch = await make_batch(lines=8)
    leases = (await claim_one(store, batch, slices=2, holder="a", ttl_s=30)).leases
    await store.cancel_batch(batch.id, now=NOW)

    assert await store.renew(leases, ttl_s=30) == {(batch.seq, 0), (batch.seq, 4)}


async def test_a_slice_claimed_again_names_its_settled_lines(store, make_batch):
    """Only lines without an outcome are sent again."""
    batch = await make_batch(lines=4)
    lease = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases[0]
    await store.settle([settlement(batch, (lease, [answered(1), answered(3)]))], now=NOW)
    await store.release([lease])

    again = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases[0]

    assert again.done == {1, 3}


@pytest.mark.spec("3.5-finalizing")
async def test_settle_moves_counts_and_usage_and_drains(store, make_batch):
    """The last outcome moves the batch to finalizing in the same transaction."""
    batch = await make_batch(lines=6)
    one, two = (await claim_one(store, batch, slices=9, holder="a", ttl_s=30)).leases
    await settle_all(store, batch, one)
    half = await store.get_batch(batch.id)
    await settle_all(store, batch, two, OutcomeKind.FAILED)
    whole = await store.get_batch(batch.id)

    assert (half.status, half.counts.completed) == (BatchStatus.IN_PROGRESS, 4)
    assert (whole.status, whole.finalizing_at) == (BatchStatus.FINALIZING, NOW)
    assert (whole.counts.completed, whole.counts.failed) == (4, 2)
    assert whole.usage.output_tokens == 12


async def test_settling_a_line_twice_is_a_broken_invariant(store, make_batch):
    """A second outcome for a line is refused loudly and changes nothing."""
    batch = await make_batch(lines=4)
    lease = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases[0]
    await store.settle([settlement(batch, (lease, [answered(0)]))], now=NOW)

    with pytest.raises(AssertionError):
        await store.settle([settlement(batch, (lease, [answered(0), answered(1)]))], now=NOW)

    assert (await store.get_batch(batch.id)).counts.completed == 1


async def test_a_settle_repeated_after_an_error_takes_only_what_is_not_settled(store, make_batch):
    """The error may have come after the commit: nothing is counted twice, nothing is lost."""
    batch = await make_batch(lines=4)
    lease = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases[0]
    await store.settle([settlement(batch, (lease, [answered(0)]))], now=NOW)

    accepted = await store.settle(
        [settlement(batch, (lease, [answered(0), answered(1)]))], now=NOW, is_repeated=True
    )

    assert accepted.lines == 1
    assert (await store.get_batch(batch.id)).counts.completed == 2


@pytest.mark.spec("3.5-cancelled-counts")
async def test_cancel_revokes_slices_so_that_late_results_do_not_count(store, make_batch):
    """After a cancel nothing settles and nothing is claimed."""
    batch = await make_batch(lines=8)
    lease = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases[0]

    cancelled = await store.cancel_batch(batch.id, now=NOW + 1)

    assert (cancelled.status, cancelled.cancelling_at) == (BatchStatus.CANCELLING, NOW + 1)
    assert (await settle_all(store, batch, lease)).lines == 0
    assert not (await claim_one(store, batch, slices=9, holder="a", ttl_s=30)).leases


@pytest.mark.spec("3.5-stamps-fixed")
async def test_cancel_is_idempotent_and_leaves_ended_batches_alone(store, make_batch):
    """A second cancel keeps the first time; an ended batch is returned as it is."""
    batch = await make_batch()
    await store.cancel_batch(batch.id, now=NOW + 1)
    again = await store.cancel_batch(batch.id, now=NOW + 9)
    await store.close(batch, BatchStatus.CANCELLED, output=None, error=None, now=NOW + 10)
    ended = await store.cancel_batch(batch.id, now=NOW + 20)

    assert again.cancelling_at == NOW + 1
    assert (ended.status, ended.cancelled_at) == (BatchStatus.CANCELLED, NOW + 10)


async def test_a_cancel_beats_a_publish_that_was_under_way(store, make_batch):
    """Finalizing → completed fails once the batch is cancelling."""
    batch = await make_batch(lines=4)
    lease = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases[0]
    await settle_all(store, batch, lease)
    await store.cancel_batch(batch.id, now=NOW)

    assert not await store.close(batch, BatchStatus.COMPLETED, output=None, error=None, now=NOW)
    assert await store.close(batch, BatchStatus.CANCELLED, output=None, error=None, now=NOW)


async def test_lapse_ends_batches_past_their_deadline(store, make_batch):
    """At expires_at the batch moves to finalizing and its slices are revoked."""
    batch = await make_batch(lines=8, expires_in_s=100)
    lease = (await claim_one(store, batch, slices=1, holder="a", ttl_s=3000)).leases[0]

    assert await store.lapse(now=NOW + 99) == []
    assert await store.lapse(now=NOW + 100) == [batch.id]
    assert (await settle_all(store, batch, lease)).lines == 0
    assert (await store.get_batch(batch.id)).status is BatchStatus.FINALIZING


async def test_close_adds_files_and_status_in_one_go(store, make_batch):
    """A terminal status is never seen without its files."""
    batch = await make_batch(lines=4)
    lease = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases[0]
    await settle_all(store, batch, lease)
    output = File("file-out", 3, NOW, None, "o.jsonl", "batch_output", "results/o")

    assert await store.close(batch, BatchStatus.COMPLETED, output=output, error=None, now=NOW)
    closed = await store.get_batch(batch.id)

    assert (closed.status, closed.output_file_id) == (BatchStatus.COMPLETED, "file-out")
    assert await store.get_file("file-out", now=NOW) == output
    assert not await store.close(batch, BatchStatus.COMPLETED, output=output, error=None, now=NOW)


async def test_recover_takes_back_what_a_dead_process_held(store, make_batch):
    """Slices of one cell are freed at once, those of another stay."""
    batch = await make_batch(lines=12)
    await claim_one(store, batch, slices=2, holder="here/1", ttl_s=300)
    await claim_one(store, batch, slices=1, holder="there/1", ttl_s=300)

    assert await store.recover("here/", died=True) == 2
    freed = await claim_one(store, batch, slices=9, holder="here/2", ttl_s=300)
    assert [x.slice.first for x in freed.leases] == [0, 4]


async def test_a_role_has_one_holder_until_it_lapses_or_is_taken_over(store, clock):
    """The store-wide lease on a role excludes others."""
    assert await store.hold("sweep", holder="a", ttl_s=10)
    assert not await store.hold("sweep", holder="b", ttl_s=10)
    assert await store.hold("sweep", holder="b", ttl_s=10, take_over=True)
    clock.advance(11)
    assert await store.hold("sweep", holder="a", ttl_s=10)


async def test_admission_starts_over_after_a_torn_one(store, make_batch):
    """Slices of an earlier try are dropped; an accepted batch is not touched."""
    batch = await make_batch()
    from batchline.model import Slice

    await store.add_slices([Slice(batch.seq, 0, 64, 0, 640)])
    assert await store.begin(batch, holder="a")
    assert await store.slices(batch) == []
    await store.cancel_batch(batch.id, now=NOW)
    assert not await store.begin(batch, holder="a")
    assert not await store.add_slices([Slice(batch.seq, 0, 64, 0, 640)])
    assert not await store.accept(batch, total=64, model=None, now=NOW)


async def test_garbage_waits_until_no_open_batch_needs_it(store, make_batch):
    """A deleted input file keeps its bytes while a batch runs on them."""
    await store.add_file(File("file-in", 1, NOW, None, "i", "batch", "files/in"))
    batch = await make_batch(lines=4)
    await store.delete_file("file-in")

    assert await store.garbage(limit=10) == []
    await store.cancel_batch(batch.id, now=NOW)
    await store.close(batch, BatchStatus.CANCELLED, output=None, error=None, now=NOW)
    keys = await store.garbage(limit=10)

    assert set(keys) == {"files/in", f"segments/{batch.id}/"}
    await store.forget_garbage(keys)
    assert await store.garbage(limit=10) == []


async def test_prune_drops_rows_of_ended_batches_in_pieces(store, make_batch):
    """Ended batches give their rows back; running ones keep theirs."""
    ended, running = await make_batch(lines=12), await make_batch(lines=4)
    for batch in (ended, running):
        for lease in (await claim_one(store, batch, slices=9, holder="a", ttl_s=30)).leases:
            await settle_all(store, batch, lease)
    await store.close(ended, BatchStatus.COMPLETED, output=None, error=None, now=NOW)

    dropped = [await store.prune(limit=5) for _ in range(5)]

    assert dropped == [5, 5, 5, 3, 0]  # 12 outcomes, 3 segments, 3 slices
    assert await store.outcomes(ended, start=0, stop=99) == []
    assert len(await store.outcomes(running, start=0, stop=99)) == 4


async def test_wait_for_work_returns_when_another_process_commits(tmp_path, store, clock):
    """The dispatcher notices what the gateway wrote without a long poll."""
    from batchline.store import open_store

    await store.wait_for_work(timeout_s=0)
    waiting = asyncio.ensure_future(store.wait_for_work(timeout_s=600))
    async with open_store(tmp_path / "batchline.sqlite3", clock_ms=clock.ms) as gateway:
        await gateway.add_file(File("file-x", 1, NOW, None, "i", "batch", "files/x"))
        await asyncio.wait_for(waiting, 60)


async def test_wait_for_work_returns_when_a_batch_moves_on_here(store, make_batch):
    """Accepting and settling the last line: the next step need not wait for the next look."""
    batch = await make_batch(lines=8)
    await store.wait_for_work(timeout_s=600)
    first, last = (await claim_one(store, batch, slices=2, holder="a", ttl_s=30)).leases

    await settle_all(store, batch, first)
    still = asyncio.ensure_future(store.wait_for_work(timeout_s=600))
    await asyncio.wait([still], timeout=0.3)
    assert not still.done()
    await settle_all(store, batch, last)
    await asyncio.wait_for(still, 60)


async def test_the_report_travels_whole(store):
    """What the dispatcher reports is what the dashboard reads."""
    from batchline.model import BackendStatus

    backend = BackendStatus("gpu-0", "http://x", alive=True, since=5, models=["m"], running=3)
    report = FleetReport(NOW, [backend], {"batch_x": 3}, 64, None)
    await store.report(report)

    assert await store.fleet_report() == report


async def test_nothing_of_a_paused_batch_is_claimed(store, make_batch):
    """Not a slice until it is resumed; what is held can still be settled."""
    batch = await make_batch(lines=8)
    held = (await claim_one(store, batch, slices=1, holder="a", ttl_s=30)).leases[0]
    await store.pause_batch(batch.id, now=NOW)

    paused = await claim_one(store, batch, slices=9, holder="a", ttl_s=30)
    settled = await settle_all(store, batch, held)
    await store.resume_batch(batch.id)
    resumed = await claim_one(store, batch, slices=9, holder="a", ttl_s=30)

    assert paused.leases == []
    assert settled.lines == 4
    assert [lease.slice.first for lease in resumed.leases] == [4]


async def test_a_holder_gives_back_what_it_does_not_know_of(store, make_batch):
    """Its own slices but those it names; those of others stay."""
    batch = await make_batch(lines=16)
    known = (await claim_one(store, batch, slices=1, holder="a/1", ttl_s=300)).leases
    await claim_one(store, batch, slices=2, holder="a/1", ttl_s=300)
    await claim_one(store, batch, slices=1, holder="a/2", ttl_s=300)

    assert await store.release_others("a/1", known) == 2
    freed = await claim_one(store, batch, slices=9, holder="b", ttl_s=300)
    assert [x.slice.first for x in freed.leases] == [4, 8]


async def test_deaths_are_counted_until_a_line_is_finished(store, make_batch):
    """Against the batch whose slices were held; a result in between begins the count anew."""
    worked, idle = await make_batch(lines=8), await make_batch(lines=8)

    async def deaths():
        return [(await store.get_batch(b.id)).deaths for b in (worked, idle)]

    for _ in range(3):
        lease = (await claim_one(store, worked, slices=1, holder="a/1", ttl_s=30)).leases[0]
        await store.recover("a/", died=True)
    three = await deaths()
    lease = (await claim_one(store, worked, slices=1, holder="a/1", ttl_s=30)).leases[0]
    await store.settle([settlement(worked, (lease, [answered(0)]))], now=NOW)
    none = await deaths()
    await store.recover("a/", died=True)
    one = await deaths()
    await claim_one(store, worked, slices=1, holder="a/1", ttl_s=30)
    await store.recover("a/", died=False)

    assert (three, none, one, await deaths()) == ([3, 0], [0, 0], [1, 0], [1, 0])


async def test_a_wait_for_work_can_be_cancelled_when_work_comes(store, make_batch):
    """In the very same moment, too: else a dispatcher that is told to stop would not."""
    batch = await make_batch()
    await store.wait_for_work(timeout_s=0)
    waiting = asyncio.ensure_future(store.wait_for_work(timeout_s=60))
    await until(lambda: store._moved._waiters)
    store._moved.set()
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert batch.status is BatchStatus.VALIDATING
