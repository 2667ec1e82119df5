"""The contract of `Intake` and `View`: files, batches, pages."""

from __future__ import annotations

import sqlite3

import pytest

from batchline.errors import NewerStore, StoreUnavailable
from batchline.model import Fault, File
from batchline.states import BatchStatus
from batchline.store import open_store

NOW = 1_800_000_000


def file(name, *, expires_at=None, purpose="batch"):
    return File(f"file-{name}", 10, NOW, expires_at, f"{name}.jsonl", purpose, f"files/{name}")


async def listed(store, **how):
    how = {"now": NOW, "after": None, "limit": 10, "ascending": False, "purpose": None} | how
    page = await store.list_files(**how)
    return page and ([f.id[5:] for f in page.items], page.has_more)


@pytest.mark.spec("4-each-once", "2.3-after")
async def test_files_are_listed_by_creation_with_exact_cursors(store):
    """Each file is seen once although all share a second."""
    for name in "abcde":
        await store.add_file(file(name))

    assert await listed(store, limit=2) == (["e", "d"], True)
    assert await listed(store, limit=2, after="file-d") == (["c", "b"], True)
    assert await listed(store, limit=2, after="file-b") == (["a"], False)
    assert await listed(store, after="file-a") == ([], False)
    assert await listed(store, limit=2, ascending=True) == (["a", "b"], True)
    assert await listed(store, after="file-nope") is None


@pytest.mark.spec("7-file-expiry")
async def test_files_filter_by_purpose_and_expiry(store):
    """An expired file is gone from every answer."""
    await store.add_file(file("a"))
    await store.add_file(file("b", purpose="batch_output"))
    await store.add_file(file("c", expires_at=NOW + 5))

    assert await listed(store, purpose="batch") == (["c", "a"], False)
    assert await listed(store, now=NOW + 5) == (["b", "a"], False)
    assert await store.get_file("file-c", now=NOW + 4) is not None
    assert await store.get_file("file-c", now=NOW + 5) is None


async def test_a_deleted_file_is_gone_once(store):
    """Deleting twice tells the difference."""
    await store.add_file(file("a"))

    assert await store.delete_file("file-a")
    assert not await store.delete_file("file-a")
    assert await store.get_file("file-a", now=NOW) is None


async def test_batches_are_listed_newest_first(store, make_batch):
    """The walk returns each batch once."""
    made = [await make_batch() for _ in range(5)]

    page = await store.list_batches(after=None, limit=3)
    rest = await store.list_batches(after=page.items[-1].id, limit=3)

    assert [b.id for b in [*page.items, *rest.items]] == [b.id for b in reversed(made)]
    assert (page.has_more, rest.has_more) == (True, False)
    assert await store.list_batches(after="batch_nope", limit=3) is None


@pytest.mark.spec("beyond-list-status")
async def test_batches_of_some_statuses_are_listed_page_by_page(store, make_batch):
    """The cursor may be a batch of another status; what is not wanted uses up no place."""
    made = [await make_batch() for _ in range(9)]
    for batch in made[::3]:
        await store.reject(batch, [Fault("empty_file", "x")], now=NOW)
    for batch in made[1::3]:
        await store.cancel_batch(batch.id, now=NOW)

    async def listed(after, limit, *statuses):
        page = await store.list_batches(after=after, limit=limit, statuses=statuses)
        return [made.index(next(b for b in made if b.id == found.id)) for found in page.items], (
            page.has_more
        )

    failed, cancelling = BatchStatus.FAILED, BatchStatus.CANCELLING
    assert await listed(None, 3, failed) == ([6, 3, 0], False)
    assert await listed(None, 2, failed) == ([6, 3], True)
    assert await listed(made[3].id, 2, failed) == ([0], False)
    assert await listed(made[8].id, 3, failed, cancelling) == ([7, 6, 4], True)
    assert await listed(made[4].id, 3, failed, cancelling) == ([3, 1, 0], False)
    assert await listed(None, 3, BatchStatus.COMPLETED) == ([], False)
    assert await store.list_batches(after="batch_nope", limit=3, statuses=[failed]) is None


async def test_a_new_batch_is_validating_with_zero_counts(store, make_batch):
    """Metadata comes back as sent."""
    batch = await make_batch(metadata={"k": "ü"})

    assert batch.status is BatchStatus.VALIDATING
    assert (batch.counts.total, batch.counts.completed, batch.counts.failed) == (0, 0, 0)
    assert (await store.get_batch(batch.id)).metadata == {"k": "ü"}


async def test_a_rejected_batch_keeps_its_faults(store, make_batch):
    """Faults survive as given."""
    batch = await make_batch()
    faults = [Fault("invalid_json_line", "No.", 3), Fault("invalid_url", "No.", 4, "url")]

    assert await store.reject(batch, faults, now=NOW)
    assert (await store.get_batch(batch.id)).faults == faults
    assert not await store.reject(batch, [], now=NOW)


async def test_the_overview_shows_open_finished_and_storage(store, make_batch):
    """One read serves the whole first page."""
    open_one, bad = await make_batch(lines=4), await make_batch()
    await store.reject(bad, [Fault("x", "y")], now=NOW)
    await store.add_file(file("a"))

    seen = await store.overview(finished_limit=5)

    assert [b.id for b in seen.open_batches] == [open_one.id]
    assert [b.id for b in seen.finished] == [bad.id]
    assert (seen.files, seen.files_bytes) == (1, 10)
    assert seen.database_bytes > 0
    assert seen.report is None


async def test_a_newer_database_is_refused_by_name(tmp_path, clock):
    """An older version does not touch what it does not know."""
    path = tmp_path / "new.sqlite3"
    async with open_store(path, clock_ms=clock.ms):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 999")
    connection.close()

    with pytest.raises(NewerStore, match="schema 999"):
        async with open_store(path, clock_ms=clock.ms):
            pass


async def test_a_path_that_cannot_be_opened_says_so(tmp_path, clock):
    """The error names the path."""
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreUnavailable, match="file"):
        async with open_store(tmp_path / "file" / "db", clock_ms=clock.ms):
            pass


async def test_the_store_is_writable(store):
    """The readiness check writes and leaves nothing."""
    await store.check_writable()
