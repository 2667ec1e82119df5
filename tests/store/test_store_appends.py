"""`Intake.append` and `finalize`: a batch that takes requests. Docstrings are the contract's sentences."""

from __future__ import annotations

import asyncio

import pytest
from steps import NOW, file, leases, settle, status

from batchline.api.appends import (
    Added,
    Append,
    AppendedLine,
    AppendLimits,
    Appends,
    Refused,
    digest_of,
)
from batchline.blobs.keys import append_key, appends_prefix, segments_prefix
from batchline.model import Fault, NewBatch, Slice
from batchline.states import BatchStatus

LIMITS = AppendLimits(lines=100, bytes=1000)


def append(*names, number=1, model="m", size=10):
    """An append of these custom_ids, each a line of ten bytes."""
    lines = [AppendedLine(digest_of(name), place * size, size) for place, name in enumerate(names)]
    return Append(number, lines, model)


@pytest.fixture
async def batch(make_batch):
    return await make_batch(appends=Appends(default_model="d"))


async def add(store, batch, *names, now=NOW, limits=LIMITS, **fields):
    return await store.append(batch.id, append(*names, **fields), limits=limits, now=now)


async def test_a_batch_that_takes_requests_runs_at_once(store, make_batch):
    """One that takes requests (`NewBatch.appends`) is in progress at once, without any."""
    batch = await make_batch(appends=Appends(default_model="d"))
    other = await make_batch()

    assert batch.status is BatchStatus.IN_PROGRESS
    assert batch.in_progress_at == batch.created_at
    assert batch.counts.total == 0
    assert batch.appends == Appends(0, "d", are_taken=True)
    assert batch.takes_requests
    assert (other.appends, other.takes_requests) == (None, False)


async def test_requests_are_added(store, batch):
    """Add requests to a batch in progress that takes them; their bytes are durable already.

    The others follow its last one, in order, and can be claimed.
    """
    first = await add(store, batch, "a", "b", number=7)
    second = await add(store, batch, "c", number=8)
    await store.pause_batch(batch.id, now=NOW)
    while_paused = await add(store, batch, "d", number=9)
    await store.resume_batch(batch.id)

    assert first == Added(lines=2, duplicates=0, total=2)
    assert (second.total, while_paused.total) == (3, 4)
    grown = await store.get_batch(batch.id)
    assert (grown.counts.total, grown.appends.bytes) == (4, 40)
    assert [lease.slice for lease in await leases(store, batch)] == [
        Slice(batch.seq, 0, 2, 0, 20, append=7),
        Slice(batch.seq, 2, 1, 0, 10, append=8),
        Slice(batch.seq, 3, 1, 0, 10, append=9),
    ]


async def test_a_request_is_added_once(store, batch, make_batch):
    """Those whose custom_id the batch has are left out, however often they come."""
    other = await make_batch(appends=Appends())
    await add(store, batch, "a", "b", number=1)
    await add(store, other, "x", number=5)

    again = await add(store, batch, "a", "b", number=2)
    partly = await add(store, batch, "x", "b", "y", "z", number=3)

    assert again == Added(lines=0, duplicates=2, total=2)
    assert partly == Added(lines=3, duplicates=1, total=5)
    assert await store.slices(batch) == [
        Slice(batch.seq, 0, 2, 0, 20, append=1),
        Slice(batch.seq, 2, 1, 0, 10, append=3),
        Slice(batch.seq, 3, 2, 20, 20, append=3),
    ]
    assert (await store.get_batch(batch.id)).appends.bytes == 50


async def test_many_at_the_same_time_add_each_request_once(engine, store, batch):
    """Also from several processes: whoever comes second leaves it out."""
    names = [f"id-{number}" for number in range(20)]
    async with engine.open() as other:
        found = await asyncio.gather(
            *(
                add((store, other)[number % 2], batch, *names, number=number + 1)
                for number in range(10)
            )
        )

    assert sorted(added.lines for added in found) == [0] * 9 + [20]
    assert (await store.get_batch(batch.id)).counts.total == 20


@pytest.mark.parametrize("limits", [AppendLimits(3, 1000), AppendLimits(100, 30)])
async def test_a_full_batch_takes_nothing(store, batch, limits):
    """All of them or none: FULL is what would exceed `limits`."""
    await add(store, batch, "a", "b", number=1, limits=limits)
    before = await store.get_batch(batch.id)

    refused = await add(store, batch, "c", "d", number=2, limits=limits)

    assert refused is Refused.FULL
    assert await store.get_batch(batch.id) == before
    assert len(await store.slices(batch)) == 1
    assert await add(store, batch, "a", "b", "c", number=3, limits=limits) == Added(1, 2, 3)


@pytest.mark.parametrize("end", ["finalized", "cancelled", "lapsed", "over", "broken"])
async def test_a_batch_that_takes_none_any_more(store, make_batch, end):
    """CLOSED is a batch that takes no requests, has reached `expires_at`, or is unknown."""
    batch = await make_batch(appends=Appends(), expires_in_s=100)
    plain = await make_batch(lines=4)
    await add(store, batch, "a")
    now = NOW
    match end:
        case "finalized":
            await store.finalize(batch.id, now=NOW)
        case "cancelled":
            await store.cancel_batch(batch.id, now=NOW)
        case "lapsed":
            await store.lapse(now=NOW + 100)
        case "over":
            now = NOW + 100
        case _:
            await store.break_batch(batch, Fault("x", "y"), now=NOW)

    assert await add(store, batch, "b", now=now) is Refused.CLOSED
    assert await add(store, plain, "b") is Refused.CLOSED
    assert await store.append("batch_nope", append("b"), limits=LIMITS, now=NOW) is Refused.CLOSED
    assert (await store.get_batch(batch.id)).counts.total == 1
    if end != "over":
        assert not (await store.get_batch(batch.id)).takes_requests


async def test_bytes_of_which_nothing_was_added_are_named_by_no_slice(store, batch):
    """Unless some were added, the bytes are the caller's to delete."""
    await add(store, batch, "a", number=1)
    await add(store, batch, "a", number=2)

    assert {piece.append for piece in await store.slices(batch)} == {1}


async def test_a_batch_without_requests_for_now_does_not_drain(store, batch):
    """A batch that takes requests does not drain, although all of its lines have finished."""
    await add(store, batch, "a", "b")
    await settle(store, batch, (await leases(store, batch))[0])
    idle = await store.get_batch(batch.id)
    await add(store, batch, "c", number=2)

    assert (idle.status, idle.counts.completed) == (BatchStatus.IN_PROGRESS, 2)
    assert len(await leases(store, batch)) == 1


@pytest.mark.parametrize("lines", [0, 1])
async def test_a_finalized_batch_of_which_all_is_done_drains(store, batch, lines):
    """Let a batch take no more requests; return it as it is afterwards.

    If all of its requests have finished it drains. None if there is no such batch.
    """
    if lines:
        await add(store, batch, "a")
        await settle(store, batch, (await leases(store, batch))[0])

    closed = await store.finalize(batch.id, now=NOW + 5)

    assert (closed.status, closed.finalizing_at) == (BatchStatus.FINALIZING, NOW + 5)
    assert not closed.takes_requests
    assert closed == await store.get_batch(batch.id)
    assert await store.finalize("batch_nope", now=NOW) is None


async def test_a_finalized_batch_drains_with_its_last_line(store, batch):
    """Idempotent: one that takes none is returned unchanged."""
    await add(store, batch, "a")
    running = await store.finalize(batch.id, now=NOW)
    again = await store.finalize(batch.id, now=NOW + 9)
    await settle(store, batch, (await leases(store, batch))[0], now=NOW + 3)
    drained = await store.get_batch(batch.id)

    assert running == again
    assert (running.status, drained.status) == (BatchStatus.IN_PROGRESS, BatchStatus.FINALIZING)
    assert drained.finalizing_at == NOW + 3
    assert await store.finalize(batch.id, now=NOW + 9) == drained


@pytest.mark.parametrize(
    ("models", "told"),
    [
        (["m", "m"], "m"),
        (["m", "n", "m"], None),
        (["m", None], None),
        ([None, "m"], None),
        ([], None),
    ],
)
async def test_the_model_is_told_once_all_is_known(store, batch, models, told):
    """From then on it tells the `model` that all of its requests name, None if they name several."""
    for number, model in enumerate(models, 1):
        await add(store, batch, f"id-{number}", number=number, model=model)
    before = (await store.get_batch(batch.id)).model
    repeated = await add(store, batch, *(["id-1"] if models else []), number=99, model="other")

    assert repeated.lines == 0
    assert before is None
    assert (await store.finalize(batch.id, now=NOW)).model == told


async def test_an_append_is_a_change(store, batch):
    """Who follows the changes is told of the new requests."""
    number = (await store.changes(after=None)).number
    await add(store, batch, "a", "b")

    (told,) = (await store.changes(after=number)).open
    assert told.counts.total == 2


async def test_long_appends_are_cut_into_slices(store, batch):
    """64 requests each, or four megabytes."""
    names = [f"id-{number}" for number in range(130)]
    limits = AppendLimits(1000, 1 << 30)

    await add(store, batch, *names, number=1, limits=limits)
    await add(store, batch, "x", "y", "z", number=2, size=3 << 20, limits=limits)

    found = [(piece.first, piece.count) for piece in await store.slices(batch)]
    assert found == [(0, 64), (64, 64), (128, 2), (130, 1), (131, 1), (132, 1)]


async def test_slices_of_some_requests(store, batch):
    """Return the slices that hold requests `start <= index < stop` (None: all), in file order."""
    for number, names in enumerate((("a", "b"), ("c",), ("d", "e", "f"), ("g",)), 1):
        await add(store, batch, *names, number=number)

    async def numbers(**asked):
        return [piece.append for piece in await store.slices(batch, **asked)]

    assert await numbers() == [1, 2, 3, 4]
    assert await numbers(start=1, stop=4) == [1, 2, 3]
    assert await numbers(start=4, stop=5) == [3]
    assert await numbers(start=5) == [3, 4]
    assert await numbers(start=2, stop=3) == [2]
    assert await numbers(stop=0) == []


@pytest.mark.parametrize("is_broken", [False, True])
async def test_what_was_appended_is_garbage_once_the_batch_has_ended(store, batch, is_broken):
    """`joined` is the input file of one that took requests.

    Its segments become garbage, and so does what was appended to it.
    Its slices are revoked, its segments and what was appended to it become garbage.
    """
    await add(store, batch, "a")
    await store.cancel_batch(batch.id, now=NOW)
    joined = file("joined")
    if is_broken:
        assert await store.break_batch(batch, Fault("x", "y"), now=NOW)
    else:
        end = {"output": None, "error": None, "joined": joined}
        assert await store.close(batch, BatchStatus.CANCELLED, now=NOW, **end)

    prefixes = {appends_prefix(batch.id), segments_prefix(batch.id)}
    assert set(await store.garbage(limit=9)) == prefixes
    assert await store.get_file(joined.id, now=NOW) == (None if is_broken else joined)
    assert await status(store, batch) in {BatchStatus.FAILED, BatchStatus.CANCELLED}
    while await store.prune(limit=1):
        pass
    assert await store.slices(batch) == []


async def test_a_pruned_batch_has_no_custom_ids(store, engine, batch):
    """They are rows of its lines like others: none is left that nothing leads to."""
    await add(store, batch, "a", "b")
    await store.cancel_batch(batch.id, now=NOW)
    await store.close(batch, BatchStatus.CANCELLED, output=None, error=None, now=NOW)

    assert sum([await store.prune(limit=2) for _ in range(3)]) == 3
    async with engine.audit() as audit:
        assert await audit.ownerless() == []


async def test_what_a_batch_needs_of_appends_and_segments_is_told(store, engine, batch, make_batch):
    """Return blob key -> the bytes of it that segments, or appends, of the batch lie in."""
    other = await make_batch(lines=4)
    await add(store, batch, "a", "b", number=1)
    await settle(store, batch, (await leases(store, batch))[0])
    await add(store, batch, "c", "a", number=2)

    async with engine.audit() as audit:
        assert await audit.files_of(other) == {}
        assert await audit.files_of(batch) == {
            append_key(batch.id, 1): 20,
            append_key(batch.id, 2): 10,
            "segments/x": 10,
        }


async def test_an_append_comes_back_as_it_was_made(store):
    """`NewBatch.appends` is what the batch begins with."""
    appends = Appends(default_model="d")
    new = NewBatch("batch_a", "/v1/x", "file-in", "files/in", "24h", NOW, NOW + 9, appends=appends)

    assert (await store.add_batch(new)).appends == appends
