"""`Upkeep.note_unnamed`: which blobs are named, and by what. Docstrings are the contract's sentences."""

from __future__ import annotations

from steps import HOUR, NOW, file, finish

from batchline.api.upload_rules import Upload, UploadStatus, new_upload_id
from batchline.blobs.keys import (
    append_key,
    file_key,
    finish_index_key,
    part_key,
    result_key,
    segments_prefix,
)


async def is_unnamed(store, key):
    """Whether nothing names the blob: it is noted now, and reported when an hour has passed."""
    first = await store.note_unnamed([key], now=NOW, first_seen_before=NOW - HOUR)
    later = await store.note_unnamed([key], now=NOW + HOUR, first_seen_before=NOW)
    await store.forget_unnamed([key], seen_before=0)
    assert first == []
    return later == [key]


async def sweep(store):
    await store.forget_garbage(await store.garbage(limit=99))


async def test_what_nothing_names_is_reported_when_it_is_still_so_an_hour_later(store):
    """Note which of these blobs nothing names; return those noted first by `first_seen_before`."""
    keys = ["files/ab/file-lost", "segments/batch_gone/x.seg", "results/batch_gone/output.jsonl"]

    assert await store.note_unnamed(keys, now=NOW, first_seen_before=NOW - HOUR) == []
    early = await store.note_unnamed(keys, now=NOW + HOUR - 1, first_seen_before=NOW - 1)
    late = await store.note_unnamed(keys, now=NOW + HOUR, first_seen_before=NOW)

    assert early == []
    assert sorted(late) == sorted(keys)


async def test_a_file_names_its_bytes(store):
    """A file names its bytes."""
    await store.add_file(file("a"))

    assert not await is_unnamed(store, file_key("file-a"))


async def test_an_open_batch_and_a_pending_upload_name_theirs(store, make_batch):
    """An open batch names its input, its segments, its results and what is appended to it, a pending upload its parts."""
    batch = await make_batch(lines=4)
    upload = Upload(new_upload_id(), UploadStatus.PENDING, 4, NOW, NOW + HOUR, "f", "batch")
    await store.add_upload(upload)
    theirs = [
        batch.input_key,
        segments_prefix(batch.id) + "x.seg",
        result_key(batch.id, "output"),
        append_key(batch.id, 7),
        part_key(upload.id, "part_a"),
    ]
    named = [not await is_unnamed(store, key) for key in theirs]

    await finish(store, batch)
    await store.cancel_upload(upload.id, now=NOW)
    await sweep(store)

    assert named == [True] * 5
    assert [await is_unnamed(store, key) for key in theirs] == [True] * 5


async def test_a_result_file_and_garbage_name_what_goes_with_them(store, make_batch):
    """A result file names the finish index beside it, and garbage names itself and what lies below it."""
    batch = await make_batch(lines=4)
    index, segment = finish_index_key(batch.id), segments_prefix(batch.id) + "x.seg"
    await finish(store, batch, output=file("out", key=result_key(batch.id, "output")))
    beside = [await is_unnamed(store, key) for key in (index, segment)]
    await store.delete_file("file-out")
    garbage = await store.garbage(limit=9)
    waiting = [await is_unnamed(store, key) for key in (*garbage, index, segment)]
    await sweep(store)

    assert beside == [False] * 2
    assert waiting == [False] * 5
    assert [await is_unnamed(store, key) for key in (index, segment)] == [True] * 2


async def test_a_note_is_dropped_when_asked_for_and_when_it_was_not_renewed(store):
    """Drop the notes about these blobs, and about those not noted again since `seen_before`.

    So is forgiven who was seen between the rename of an upload and its row.
    """
    await store.note_unnamed(["files/a", "files/b", "files/c"], now=NOW, first_seen_before=0)
    await store.note_unnamed(["files/a", "files/b"], now=NOW + HOUR, first_seen_before=0)

    await store.forget_unnamed(["files/a"], seen_before=NOW + 1)

    keys = ["files/a", "files/b", "files/c"]
    noted = await store.note_unnamed(keys, now=NOW + HOUR, first_seen_before=NOW)
    assert noted == ["files/b"]
