"""What holds for every method of `Store`. Docstrings are the contract's sentences."""

from __future__ import annotations

import pytest
from hooks import TAKEN, endpoint
from steps import NOW, answered, file, finish, leases, settle, settlement, status

from batchline.api.upload_rules import Part, Upload, UploadStatus
from batchline.errors import StoreUnavailable
from batchline.model import Fault, FleetReport, NewBatch, Slice
from batchline.states import BatchStatus
from batchline.store import Store
from batchline.webhooks.records import (
    Ask,
    ClaimedDelivery,
    Delivery,
    DeliveryState,
    Event,
    EventType,
)

EARLY = 1  # long before any batch was created
FAULT = Fault("c", "m")
PIECE = Slice(1, 0, 4, 0, 10)
UPLOAD = Upload("upload_a", UploadStatus.PENDING, 4, NOW, NOW + 9, "f", "batch")
NEW = NewBatch("batch_new", "/v1/x", "file-in", "files/in", "24h", NOW, NOW + 9)
PAGE = {"after": None, "limit": 9}
EVENT = Event("evt_a", EventType.FAILED, NOW, "batch_a")
WITHOUT_ROWS = {"checkpoint", "vacuum", "wait_for_work"}


def calls(store, batch, lease):
    """One call of each method that reads or writes rows."""
    return calls_of_work(store, batch, lease) | calls_of_webhooks(store)


def calls_of_webhooks(store):
    delivery = Delivery(
        1, EVENT, Ask.SETTING, None, "https://a", DeliveryState.PENDING, 0, NOW, NOW
    )
    claimed = ClaimedDelivery(delivery, 1, [])
    same = {"name": None, "url": None, "event_types": None, "now": NOW}
    return {
        "add_endpoint": lambda: store.add_endpoint(endpoint("new")),
        "address_events": lambda: store.address_events((), calls_back=True, now=NOW, limit=9),
        "claim_deliveries": lambda: store.claim_deliveries(now=NOW, limit=9, ttl_s=1),
        "count_endpoints": store.count_endpoints,
        "delete_endpoint": lambda: store.delete_endpoint("we_a", now=NOW),
        "forget_deliveries": lambda: store.forget_deliveries(ended_before=NOW, limit=9),
        "give_up_late": lambda: store.give_up_late(made_before=NOW, now=NOW, limit=9),
        "get_endpoint": lambda: store.get_endpoint("we_a"),
        "list_deliveries": lambda: store.list_deliveries(limit=9),
        "list_endpoints": lambda: store.list_endpoints(**PAGE),
        "outbox_figures": store.outbox_figures,
        "keep_delivery": lambda: store.keep_delivery(
            claimed, lines_done=1, checkpoint=None, ttl_s=9
        ),
        "record_attempt": lambda: store.record_attempt(claimed, TAKEN, now=NOW),
        "replay_delivery": lambda: store.replay_delivery(1, now=NOW),
        "rotate_secret": lambda: store.rotate_secret("we_a", secret="s", keep_until=None, now=NOW),
        "update_endpoint": lambda: store.update_endpoint("we_a", **same),
    }


def calls_of_work(store, batch, lease):
    offered = settlement(batch, (lease, [answered(0)]))
    end = {"output": None, "error": None, "now": NOW}
    return {
        "accept": lambda: store.accept(batch, total=4, model="m", now=NOW),
        "add_batch": lambda: store.add_batch(NEW),
        "add_file": lambda: store.add_file(file()),
        "add_part": lambda: store.add_part(Part("p", "upload_a", 1, NOW), now=NOW, max_bytes=9),
        "add_slices": lambda: store.add_slices([PIECE]),
        "add_upload": lambda: store.add_upload(UPLOAD),
        "backlog": store.backlog,
        "begin": lambda: store.begin(batch, holder="a"),
        "begin_join": lambda: store.begin_join("upload_a", "files/a", now=NOW),
        "break_batch": lambda: store.break_batch(batch, FAULT, now=NOW),
        "cancel_batch": lambda: store.cancel_batch(batch.id, now=NOW),
        "cancel_upload": lambda: store.cancel_upload("upload_a", now=NOW),
        "changes": lambda: store.changes(after=None),
        "check_writable": store.check_writable,
        "claim_each": lambda: store.claim_each([(batch, 1)], holder="a", ttl_s=1),
        "close": lambda: store.close(batch, BatchStatus.COMPLETED, **end),
        "complete_upload": lambda: store.complete_upload("upload_a", file()),
        "delete_batch": lambda: store.delete_batch(batch.id),
        "delete_file": lambda: store.delete_file("file-a"),
        "drop_batches": lambda: store.drop_batches(ended_before=NOW, limit=9),
        "expire_files": lambda: store.expire_files(now=NOW, limit=9),
        "expire_uploads": lambda: store.expire_uploads(now=NOW, limit=9),
        "finished_lines": lambda: store.finished_lines(batch, start=0, limit=9),
        "fleet_report": store.fleet_report,
        "forget_garbage": lambda: store.forget_garbage(["files/a"]),
        "forget_unnamed": lambda: store.forget_unnamed(["files/a"], seen_before=NOW),
        "garbage": lambda: store.garbage(limit=9),
        "get_batch": lambda: store.get_batch(batch.id),
        "get_file": lambda: store.get_file("file-a", now=NOW),
        "get_upload": lambda: store.get_upload("upload_a", now=NOW),
        "hold": lambda: store.hold("sweep", holder="a", ttl_s=1),
        "identity": store.identity,
        "lapse": lambda: store.lapse(now=NOW),
        "lines_of_segment": lambda: store.lines_of_segment(batch, segment=1, lines=[0]),
        "list_batches": lambda: store.list_batches(**PAGE),
        "list_batches_of": lambda: store.list_batches_of("/v1/a", limit=1),
        "list_files": lambda: store.list_files(now=NOW, ascending=True, purpose=None, **PAGE),
        "outcomes": lambda: store.outcomes(batch, start=0, stop=9),
        "overview": lambda: store.overview(finished_limit=9),
        "parts": lambda: store.parts("upload_a"),
        "pause_batch": lambda: store.pause_batch(batch.id, now=NOW),
        "prune": lambda: store.prune(limit=9),
        "recover": lambda: store.recover("a", died=True),
        "reject": lambda: store.reject(batch, [FAULT], now=NOW),
        "release": lambda: store.release([lease]),
        "release_others": lambda: store.release_others("a", []),
        "renew": lambda: store.renew([lease], ttl_s=1),
        "report": lambda: store.report(FleetReport(NOW)),
        "resume_batch": lambda: store.resume_batch(batch.id),
        "segments": lambda: store.segments(batch),
        "set_aside": lambda: store.set_aside(batch, FAULT, now=NOW),
        "settle": lambda: store.settle([offered], now=NOW),
        "slices": lambda: store.slices(batch),
        "note_unnamed": lambda: store.note_unnamed(["files/a"], now=NOW, first_seen_before=0),
        "used_key": lambda: store.used_key("k", now=NOW),
    }


async def test_a_database_that_refuses_is_unavailable(engine, store, make_batch):
    """Whatever reads or writes rows raises StoreUnavailable where the database refuses."""
    batch = await make_batch(lines=4)
    (lease,) = await leases(store, batch)
    asked = calls(store, batch, lease)
    wrong = []

    with engine.refusing():
        for name, call in asked.items():
            try:
                found = await call()
            except StoreUnavailable:
                continue
            wrong.append((name, found))

    public = {name for name in dir(Store) if not name.startswith("_")}
    assert asked.keys() | WITHOUT_ROWS == public
    assert wrong == []
    assert await store.get_batch(batch.id) == batch


async def test_a_batch_that_has_ended_is_moved_by_nobody(store, make_batch):
    """A lost race is a return value, never an exception."""
    batch = await make_batch(lines=4)
    (lease,) = await leases(store, batch)
    await settle(store, batch, lease)
    await store.close(batch, BatchStatus.COMPLETED, output=None, error=None, now=NOW)
    ended = await store.get_batch(batch.id)
    moves = (
        "accept",
        "add_slices",
        "begin",
        "break_batch",
        "close",
        "lapse",
        "reject",
        "set_aside",
    )

    found = {name: await calls(store, batch, lease)[name]() for name in moves}
    steered = [
        await calls(store, batch, lease)[name]()
        for name in ("cancel_batch", "pause_batch", "resume_batch")
    ]

    assert not any(found.values()), found
    assert steered == [ended] * 3
    assert (await settle(store, batch, lease)).lines == 0
    assert await store.renew([lease], ttl_s=9) == {(batch.seq, 0)}
    assert await store.get_batch(batch.id) == ended


async def test_what_is_done_is_seen_by_others_and_stays(engine, make_batch, store):
    """What a call has done is durable when it returns, and other processes see it."""
    batch = await make_batch(lines=4)
    async with engine.open() as other:
        seen = await other.get_batch(batch.id)
        await other.cancel_batch(batch.id, now=NOW)
        back = await status(store, batch)
    async with engine.open() as later:
        kept = await status(later, batch)

    assert seen == batch
    assert (back, kept) == (BatchStatus.CANCELLING, BatchStatus.CANCELLING)


async def test_only_leases_go_by_the_clock(store, make_batch, clock):
    """Time is an argument in integer Unix seconds; only leases go by the store's own clock."""
    batch = await make_batch(lines=4, expires_in_s=100)
    await store.add_file(file(expires_at=NOW + 9))
    await store.add_upload(UPLOAD)
    await leases(store, batch, holder="a", ttl_s=30)

    clock.advance(10**6)

    assert await store.get_file("file-a", now=NOW) is not None
    assert (await store.get_upload("upload_a", now=NOW)).status is UploadStatus.PENDING
    assert await store.lapse(now=NOW) == []
    assert len(await leases(store, batch, holder="b")) == 1


@pytest.mark.spec("3.5-stamps-ordered")
async def test_a_clock_that_steps_back_leaves_no_stamp_before_the_one_before_it(store, make_batch):
    """No stamp of a batch precedes the one before it, whatever `now` says."""
    failed = await make_batch()
    await store.reject(failed, [FAULT], now=EARLY)
    broken = await make_batch(lines=4)
    await store.break_batch(broken, FAULT, now=EARLY)
    completed = await make_batch(lines=4)
    await finish(store, completed, now=EARLY)
    expired = await make_batch(lines=4, expires_in_s=-(10**10))
    await store.lapse(now=EARLY)
    await store.close(expired, BatchStatus.EXPIRED, output=None, error=None, now=EARLY)
    cancelled = await make_batch(lines=4)
    await settle(store, cancelled, (await leases(store, cancelled))[0], now=EARLY)
    await store.cancel_batch(cancelled.id, now=EARLY)
    await store.close(cancelled, BatchStatus.CANCELLED, output=None, error=None, now=EARLY)

    for batch in (failed, broken, completed, expired, cancelled):
        end = await store.get_batch(batch.id)
        stamps = [end.in_progress_at, end.finalizing_at, end.cancelling_at, end.ended_at]
        assert {s for s in stamps if s is not None} == {end.created_at}
        assert end.ended_at is not None
