"""`Lookup.get_file` and `Intake`, of files. Docstrings are the contract's sentences."""

from __future__ import annotations

import pytest
from steps import NOW, file, finish

from batchline.blobs.keys import finish_index_key, result_key
from batchline.model import RESPONSE_PURPOSE


async def listed(store, **how):
    how = {"now": NOW, "after": None, "limit": 10, "ascending": False, "purpose": None} | how
    page = await store.list_files(**how)
    return page and ([f.id[5:] for f in page.items], page.has_more)


async def test_a_file_comes_back_as_it_was_added(store):
    """Insert one file, whose bytes are durable under `file.blob_key` already."""
    added = file("a", expires_at=NOW + 1, purpose="user_data")
    await store.add_file(added)

    assert await store.get_file("file-a", now=NOW) == added


@pytest.mark.spec("7-file-expiry")
async def test_a_file_that_is_gone_is_none(store):
    """Return the file, or None if unknown, deleted or expired at `now`."""
    for gone in (file("deleted"), file("expired", expires_at=NOW + 5)):
        await store.add_file(gone)
    await store.delete_file("file-deleted")

    assert await store.get_file("file-expired", now=NOW + 4) is not None
    assert await store.get_file("file-expired", now=NOW + 5) is None
    assert await store.get_file("file-deleted", now=NOW) is None
    assert await store.get_file("file-unknown", now=NOW) is None


@pytest.mark.spec("4-each-once", "2.3-after")
async def test_files_are_listed_by_creation_with_exact_cursors(store):
    """Return one page in the order of creation, newest first unless `ascending`.

    It begins behind the file `after`; None if that is unknown.
    """
    for name in "abcde":  # all in one second
        await store.add_file(file(name))

    assert await listed(store, limit=2) == (["e", "d"], True)
    assert await listed(store, limit=2, after="file-d") == (["c", "b"], True)
    assert await listed(store, limit=2, after="file-b") == (["a"], False)
    assert await listed(store, after="file-a") == ([], False)
    assert await listed(store, limit=2, ascending=True) == (["a", "b"], True)
    assert await listed(store, limit=3, after="file-b", ascending=True) == (["c", "d", "e"], False)
    assert await listed(store, after="file-nope") is None


async def test_files_are_listed_by_purpose_while_they_live(store):
    """It has no file that is expired at `now` or belongs to a response, and with `purpose` only files of that."""
    await store.add_file(file("a"))
    await store.add_file(file("hidden", purpose=RESPONSE_PURPOSE))
    await store.add_file(file("b", purpose="batch_output"))
    await store.add_file(file("c", expires_at=NOW + 5))

    assert await listed(store, purpose="batch") == (["c", "a"], False)
    assert await listed(store, now=NOW + 5) == (["b", "a"], False)
    assert await listed(store, now=NOW + 5, ascending=True) == (["a", "b"], False)
    assert await listed(store, purpose=RESPONSE_PURPOSE) == ([], False)


async def test_a_walk_goes_on_behind_a_file_that_is_gone(store):
    """A file that is gone is a cursor still (the last 100,000 are), so that a walk may delete as it goes."""
    for name in "abcd":
        await store.add_file(file(name, expires_at=NOW + 5 if name == "b" else None))
    await store.delete_file("file-c")
    await store.expire_files(now=NOW + 5, limit=9)

    assert await listed(store, after="file-c") == (["a"], False)
    assert await listed(store, after="file-b", ascending=True) == (["d"], False)


async def test_a_deleted_file_is_gone_once_and_its_bytes_are_garbage(store):
    """Forget the file and leave its bytes to the sweep; False if there was none."""
    await store.add_file(file("a"))

    assert await store.delete_file("file-a")
    assert not await store.delete_file("file-a")
    assert await store.garbage(limit=9) == [file("a").blob_key]


@pytest.mark.parametrize("last", ["deleted", "expired"])
async def test_the_finish_index_goes_with_the_last_result_file(store, make_batch, last):
    """With the last result file of a batch goes its finish index."""
    batch = await make_batch(lines=4)
    index = finish_index_key(batch.id)
    output = file("out", expires_at=NOW + 9, key=result_key(batch.id, "output"))
    error = file("err", key=result_key(batch.id, "error"))
    await finish(store, batch, output=output, error=error)
    goes = [lambda: store.expire_files(now=NOW + 9, limit=9), lambda: store.delete_file("file-err")]
    first, second = goes if last == "deleted" else reversed(goes)

    assert await first()
    before = await store.garbage(limit=99)
    assert await second()

    assert index not in before
    assert index in await store.garbage(limit=99)
