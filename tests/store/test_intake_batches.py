"""`Lookup.get_batch` and `Intake`, of batches. Docstrings are the contract's sentences."""

from __future__ import annotations

import pytest
from steps import NOW, file, finish, leases, settle, status

from batchline.model import Fault, NewBatch, UsedKey
from batchline.states import BatchStatus, OnFailures, OnFaults, OutcomeKind


def new_batch(name="a", *, created_at=NOW, **fields):
    return NewBatch(
        f"batch_{name}", "/v1/x", "file-in", "files/in", "24h", created_at, created_at + 9, **fields
    )


def used(batch_id, *, key="k", expires_at=NOW + 9):
    return UsedKey(key, b"digest", batch_id, expires_at)


async def test_a_batch_comes_back_as_it_was_added(store):
    """Insert a batch in `validating` and return it, with the `file` that it runs over and its `key`.

    Return the batch as it is now, or None if there is none.
    """
    fields = {"metadata": {"k": "ü"}, "output_expires_after_s": 7, "on_failures": OnFailures.PAUSE}
    fields |= {"on_faults": OnFaults.FAIL_LINES, "requests": 3}
    new = new_batch(**fields)
    key = used("batch_a")

    batch = await store.add_batch(new, file=file("in"), key=key)

    assert {name: getattr(batch, name) for name in NewBatch.__slots__} == {
        name: getattr(new, name) for name in NewBatch.__slots__
    }
    assert batch.status is BatchStatus.VALIDATING
    assert (batch.counts.total, batch.counts.completed, batch.counts.failed) == (0, 0, 0)
    assert await store.get_batch("batch_a") == batch
    assert await store.get_file("file-in", now=NOW) == file("in")
    assert await store.used_key("k", now=NOW) == key
    assert await store.get_batch("batch_none") is None


async def test_a_key_that_is_taken_lets_nothing_in(store):
    """All of them or none: None if the key is taken."""
    await store.add_batch(new_batch("first"), key=used("batch_first"))

    assert await store.add_batch(new_batch(), file=file("in"), key=used("batch_a")) is None

    assert await store.get_batch("batch_a") is None
    assert await store.get_file("file-in", now=NOW) is None
    assert (await store.used_key("k", now=NOW)).batch_id == "batch_first"


async def test_a_key_that_has_expired_is_free_again(store):
    """A key that has expired when the batch is created is free again, and is forgotten."""
    await store.add_batch(new_batch("first"), key=used("batch_first"))
    await store.add_batch(new_batch("other"), key=used("batch_other", key="other"))

    late = new_batch(created_at=NOW + 9)
    made = await store.add_batch(late, key=used("batch_a", expires_at=NOW + 99))

    assert made is not None
    assert (await store.used_key("k", now=NOW)).batch_id == "batch_a"
    assert await store.used_key("other", now=NOW) is None


async def test_a_key_may_be_made_to_stand_for_another_batch(store):
    """With `replaces_key` the key stands for this batch from now on, whatever it stood for before."""
    await store.add_batch(new_batch("first"), key=used("batch_first"))

    made = await store.add_batch(new_batch(), key=used("batch_a"), replaces_key=True)

    assert made is not None
    assert (await store.used_key("k", now=NOW)).batch_id == "batch_a"


async def test_a_key_is_known_until_it_expires(store):
    """Return what the key was used for, or None if it never was or has expired at `now`."""
    await store.add_batch(new_batch(), key=used("batch_a"))

    assert await store.used_key("k", now=NOW + 8) == used("batch_a")
    assert await store.used_key("k", now=NOW + 9) is None
    assert await store.used_key("other", now=NOW) is None


@pytest.fixture
async def nine(store, make_batch):
    """Nine batches: every third failed, the next one cancelling, the next one validating."""
    made = [await make_batch() for _ in range(9)]
    for batch in made[::3]:
        await store.reject(batch, [Fault("empty_file", "x")], now=NOW)
    for batch in made[1::3]:
        await store.cancel_batch(batch.id, now=NOW)
    return made


async def listed(store, made, after, limit, *statuses):
    after = after if after is None else made[after].id
    page = await store.list_batches(after=after, limit=limit, statuses=statuses)
    ids = [batch.id for batch in made]
    return [ids.index(found.id) for found in page.items], page.has_more


async def test_batches_are_listed_newest_first(store, nine):
    """Return one page, newest first, of the batches in `statuses` (none: of all).

    It begins behind the batch `after`; None if that is unknown.
    """
    assert await listed(store, nine, None, 5) == ([8, 7, 6, 5, 4], True)
    assert await listed(store, nine, 4, 5) == ([3, 2, 1, 0], False)
    assert await listed(store, nine, None, 3, BatchStatus.FAILED) == ([6, 3, 0], False)
    assert await listed(store, nine, None, 2, BatchStatus.FAILED) == ([6, 3], True)
    assert await listed(store, nine, None, 3, BatchStatus.COMPLETED) == ([], False)
    for statuses in ((), (BatchStatus.FAILED,)):
        assert await store.list_batches(after="batch_nope", limit=3, statuses=statuses) is None


async def test_responses_are_not_listed(store, nine):
    """It has no responses."""
    hidden = await store.add_batch(new_batch("hidden", is_response=True, model="m"))

    assert await listed(store, nine, None, 2) == ([8, 7], True)
    assert await listed(store, nine, None, 9, BatchStatus.VALIDATING) == ([8, 5, 2], False)
    assert (hidden.is_response, hidden.model) == (True, "m")


@pytest.mark.spec("beyond-list-status")
async def test_the_cursor_of_a_list_may_be_any_batch(store, nine):
    """That batch may have any status, and be gone, as of files."""
    failed, cancelling = BatchStatus.FAILED, BatchStatus.CANCELLING
    await store.delete_batch(nine[3].id)

    assert await listed(store, nine, 8, 3, failed, cancelling) == ([7, 6, 4], True)
    assert await listed(store, nine, 4, 3, failed, cancelling) == ([1, 0], False)
    assert await listed(store, nine, 3, 2) == ([2, 1], True)


async def paged(store, made, **cursor):
    cursor = {name: made[place].id for name, place in cursor.items()}
    page = await store.list_batches_of("/v1/b", limit=2, **cursor)
    ids = [batch.id for batch in made]
    return [ids.index(found.id) for found in page.items], page.has_more


async def test_the_batches_of_an_endpoint_are_listed_in_both_directions(store, make_batch):
    """Return one page, newest first, of the batches for one endpoint.

    It begins behind the batch `after`, or ends just before the batch `before`: `has_more` tells
    whether there are more in that direction.
    """
    made = [await make_batch(endpoint=f"/v1/{'ab'[n % 2]}") for n in range(10)]

    assert await paged(store, made) == ([9, 7], True)
    assert await paged(store, made, after=7) == ([5, 3], True)
    assert await paged(store, made, after=5) == ([3, 1], False)
    assert await paged(store, made, after=1) == ([], False)
    assert await paged(store, made, before=1) == ([5, 3], True)
    assert await paged(store, made, before=5) == ([9, 7], False)
    assert await paged(store, made, before=9) == ([], False)


async def test_the_cursor_of_such_a_list_may_be_of_any_endpoint(store, make_batch):
    """None if the batch that is named is unknown; it may be of any endpoint, and be gone, as of files."""
    made = [await make_batch(endpoint=f"/v1/{'ab'[n % 2]}") for n in range(6)]
    await store.cancel_batch(made[3].id, now=1)
    await store.close(made[3], BatchStatus.CANCELLED, output=None, error=None, now=2)
    await store.delete_batch(made[3].id)

    assert await paged(store, made, after=4) == ([1], False)
    assert await paged(store, made, before=2) == ([5], False)
    assert await paged(store, made, after=3) == ([1], False)
    for cursor in ({"after": "batch_nope"}, {"before": "batch_nope"}):
        assert await store.list_batches_of("/v1/b", limit=2, **cursor) is None


@pytest.mark.parametrize("begun", [False, True])
async def test_a_cancelled_batch_is_cancelling(store, make_batch, begun):
    """Move an open batch to `cancelling` and revoke its slices; return it as it is afterwards.

    None if there is no such batch.
    """
    batch = await make_batch(lines=4 if begun else None)

    cancelled = await store.cancel_batch(batch.id, now=NOW + 1)

    assert (cancelled.status, cancelled.cancelling_at) == (BatchStatus.CANCELLING, NOW + 1)
    assert cancelled == await store.get_batch(batch.id)
    assert await store.cancel_batch("batch_nope", now=NOW) is None


@pytest.mark.spec("3.5-cancelled-counts")
async def test_late_results_of_revoked_slices_do_not_count(store, make_batch):
    """Revoked slices are neither claimed nor settled any more."""
    batch = await make_batch(lines=8)
    lease = (await leases(store, batch, slices=1))[0]

    await store.cancel_batch(batch.id, now=NOW)

    assert (await settle(store, batch, lease)).lines == 0
    assert await leases(store, batch) == []


@pytest.mark.spec("3.5-stamps-fixed")
async def test_a_second_cancel_changes_nothing(store, make_batch):
    """Idempotent: the time of the first call stays. A batch that has ended is returned unchanged."""
    batch = await make_batch()
    await store.cancel_batch(batch.id, now=NOW + 1)
    again = await store.cancel_batch(batch.id, now=NOW + 9)
    await store.close(batch, BatchStatus.CANCELLED, output=None, error=None, now=NOW + 10)

    assert again.cancelling_at == NOW + 1
    ended = await store.get_batch(batch.id)
    assert await store.cancel_batch(batch.id, now=NOW + 20) == ended


async def test_nothing_of_a_paused_batch_is_claimed(store, make_batch):
    """Let none of its lines be claimed from now on; return the batch as it is afterwards.

    None if there is no such batch. What is leased can be settled still.
    """
    batch = await make_batch(lines=8)
    held = (await leases(store, batch, slices=1))[0]

    paused = await store.pause_batch(batch.id, now=NOW)

    assert paused == await store.get_batch(batch.id)
    assert paused.paused_at == NOW
    assert await leases(store, batch) == []
    assert (await settle(store, batch, held)).lines == 4
    assert await store.pause_batch("batch_nope", now=NOW) is None


async def test_a_second_pause_changes_nothing(store, make_batch):
    """Idempotent: it keeps the time of the first pause.

    A batch that is not `PAUSABLE` is returned unchanged.
    """
    batch, cancelling = await make_batch(), await make_batch(lines=4)
    await store.pause_batch(batch.id, now=NOW)
    unchanged = await store.cancel_batch(cancelling.id, now=NOW)

    assert (await store.pause_batch(batch.id, now=NOW + 5)).paused_at == NOW
    assert await store.pause_batch(cancelling.id, now=NOW) == unchanged


async def test_a_resumed_batch_is_claimed_again(store, make_batch):
    """Take a pause back, with its reason; return the batch as it is afterwards.

    It notes how many lines were finished and had failed by then.
    """
    batch = await make_batch(lines=12)
    first, second, _ = await leases(store, batch)
    await settle(store, batch, first)
    await settle(store, batch, second, [4, 5], kind=OutcomeKind.FAILED)
    await store.recover("a", died=False)
    await store.set_aside(batch, Fault("x", "y"), now=NOW)

    resumed = await store.resume_batch(batch.id)

    assert resumed == await store.get_batch(batch.id)
    assert (resumed.paused_at, resumed.faults) == (None, None)
    assert (resumed.finished_at_resume, resumed.failed_at_resume) == (6, 2)
    assert [lease.slice.first for lease in await leases(store, batch)] == [4, 8]


async def test_only_a_paused_batch_is_resumed(store, make_batch):
    """None if there is no such batch; one that is not paused is returned unchanged."""
    batch = await make_batch(lines=4)

    assert await store.resume_batch(batch.id) == batch
    assert await store.resume_batch("batch_nope") is None


@pytest.mark.parametrize("is_shared", [False, True])
async def test_a_deleted_batch_takes_its_files_along(store, make_batch, is_shared):
    """Forget a batch that has ended, its result files, and its input file if no other names it.

    Their bytes become garbage, rows of its lines are pruned later.
    """
    await store.add_file(file("in", key="files/in"))
    batch = await make_batch(lines=4)
    if is_shared:
        await finish(store, await make_batch(lines=4))
    await finish(store, batch, output=file("out"), error=file("err"))

    assert await store.delete_batch(batch.id)

    assert await store.get_batch(batch.id) is None
    ids = ("file-out", "file-err", "file-in")
    left = [name for name in ids if await store.get_file(name, now=NOW)]
    assert left == (["file-in"] if is_shared else [])
    gone = {file("out").blob_key, file("err").blob_key}
    gone |= set() if is_shared else {"files/in"}
    assert gone <= set(await store.garbage(limit=99))
    assert len(await store.outcomes(batch, start=0, stop=9)) == 4
    while await store.prune(limit=9):
        pass
    assert await store.outcomes(batch, start=0, stop=9) == []


async def test_only_an_ended_batch_is_deleted(store, make_batch):
    """False if there is no such batch or it is open."""
    batch = await make_batch(lines=4)

    assert not await store.delete_batch(batch.id)
    assert not await store.delete_batch("batch_nope")
    assert await status(store, batch) is BatchStatus.IN_PROGRESS
