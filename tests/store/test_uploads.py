"""`Uploads`: every move from pending, and what becomes garbage by it.

Docstrings are the contract's sentences.
"""

from __future__ import annotations

import pytest
from steps import DAY, HOUR, NOW

from batchline.api.upload_rules import (
    Admission,
    Part,
    Upload,
    UploadStatus,
    new_part_id,
    new_upload_id,
)
from batchline.blobs.keys import file_key, parts_prefix
from batchline.model import File


@pytest.fixture
async def upload(store):
    """A pending upload of an hour."""
    return await add(store)


async def add(store, *, expires_at=NOW + HOUR):
    made = Upload(
        new_upload_id(), UploadStatus.PENDING, 4, NOW, expires_at, "f.jsonl", "batch", 7200
    )
    await store.add_upload(made)
    return made


async def add_part(store, upload, *, size=4, now=NOW, **limits):
    part = Part(new_part_id(), upload.id, size, now)
    return await store.add_part(part, now=now, **{"max_bytes": 100} | limits)


def file(name="file-a"):
    return File(name, 4, NOW, None, "f.jsonl", "batch", file_key(name))


async def status(store, upload, *, now=NOW):
    found = await store.get_upload(upload.id, now=now)
    return found and found.status


async def test_an_upload_comes_back_as_it_was_added(store, upload):
    """Insert one pending upload.

    Return the upload as it is at `now`, or None if it is unknown or forgotten.
    """
    assert await store.get_upload(upload.id, now=NOW) == upload
    assert await store.get_upload("upload_x", now=NOW) is None


async def test_an_upload_is_expired_at_its_second_before_any_sweep(store, upload):
    """Past `expires_at` an upload is not pending, whether `expire_uploads` came or not.

    CLOSED is an upload that is not pending.
    """
    assert await status(store, upload, now=NOW + HOUR - 1) == UploadStatus.PENDING
    assert await status(store, upload, now=NOW + HOUR) == UploadStatus.EXPIRED
    assert await add_part(store, upload, now=NOW + HOUR) is Admission.CLOSED
    assert not await store.begin_join(upload.id, "files/a", now=NOW + HOUR)
    assert not await store.cancel_upload(upload.id, now=NOW + HOUR)


async def test_parts_are_taken_while_they_fit(store, upload):
    """Add a part to a pending upload; its bytes are durable already.

    The caller deletes them unless TAKEN. `max_bytes` and `max_parts` bound all parts of the upload
    together: FULL is what would exceed them.
    """
    assert await add_part(store, upload, size=60) is Admission.TAKEN
    assert await add_part(store, upload, size=41) is Admission.FULL
    assert await add_part(store, upload, size=40) is Admission.TAKEN
    assert await add_part(store, upload, size=0, max_parts=2) is Admission.FULL
    assert await add_part(store, upload, size=0, max_parts=3) is Admission.TAKEN
    assert sorted(part.bytes for part in await store.parts(upload.id)) == [0, 40, 60]


async def test_completing_adds_the_file_and_drops_the_parts(store, upload):
    """Pending → completed with its file, whose blob is durable; the parts become garbage.

    Return the parts that were taken, in no particular order; none once the upload has ended.
    """
    await add_part(store, upload)
    assert await store.begin_join(upload.id, file().blob_key, now=NOW)

    assert await store.complete_upload(upload.id, file())

    done = await store.get_upload(upload.id, now=NOW + HOUR)
    assert (done.status, done.file_id) == (UploadStatus.COMPLETED, "file-a")
    assert await store.get_file("file-a", now=NOW) == file()
    assert await store.parts(upload.id) == []
    assert await store.garbage(limit=9) == [parts_prefix(upload.id)]


async def test_a_later_completion_fences_off_an_earlier_one(store, upload):
    """Announce that the parts are being joined into the blob `key`; False if not pending.

    Fences off whoever announced another key before: that blob becomes garbage.
    """
    early, late = file("file-early"), file("file-late")
    assert await store.begin_join(upload.id, early.blob_key, now=NOW)
    assert await store.begin_join(upload.id, late.blob_key, now=NOW)

    assert not await store.complete_upload(upload.id, early)
    assert await store.complete_upload(upload.id, late)

    assert await store.get_file("file-early", now=NOW) is None
    assert set(await store.garbage(limit=9)) == {early.blob_key, parts_prefix(upload.id)}


async def test_cancelling_under_a_completion_wins(store, upload):
    """Pending → cancelled, the parts and what they are joined into becoming garbage."""
    assert await store.begin_join(upload.id, file().blob_key, now=NOW)

    assert await store.cancel_upload(upload.id, now=NOW)

    assert not await store.complete_upload(upload.id, file())
    assert await store.get_file("file-a", now=NOW) is None
    assert set(await store.garbage(limit=9)) == {file().blob_key, parts_prefix(upload.id)}


@pytest.mark.parametrize("end", ["completed", "cancelled", "expired"])
async def test_nothing_moves_what_has_ended(store, upload, end):
    """False on a lost race: it has ended, or others began to join into another blob.

    False on a lost race: it has ended.
    """
    await store.begin_join(upload.id, file().blob_key, now=NOW)
    match end:
        case "completed":
            assert await store.complete_upload(upload.id, file())
        case "cancelled":
            assert await store.cancel_upload(upload.id, now=NOW)
        case _:
            assert await store.expire_uploads(now=NOW + HOUR, limit=9) == 1

    assert not await store.complete_upload(upload.id, file())
    assert not await store.cancel_upload(upload.id, now=NOW)
    assert not await store.begin_join(upload.id, "files/b", now=NOW)
    assert await add_part(store, upload) is Admission.CLOSED
    assert await status(store, upload) == end


async def test_uploads_expire_a_few_at_a_time_and_leave_their_bytes_to_the_sweep(store):
    """Pending → expired for up to `limit` uploads past `expires_at`; return how many.

    Their parts, and what they are joined into, become garbage.
    """
    due = [await add(store) for _ in range(3)]
    kept = await add(store, expires_at=NOW + HOUR + 1)
    await store.begin_join(due[0].id, "files/torn", now=NOW)

    counts = [await store.expire_uploads(now=NOW + HOUR, limit=2) for _ in range(3)]

    assert counts == [2, 1, 0]
    assert await status(store, kept) == UploadStatus.PENDING
    expected = {"files/torn", *(parts_prefix(upload.id) for upload in due)}
    assert set(await store.garbage(limit=9)) == expected


async def test_ended_uploads_are_forgotten_a_day_later(store, upload):
    """Forgets uploads that have ended and whose `expires_at` is a day ago."""
    await store.cancel_upload(upload.id, now=NOW)
    day_later = NOW + HOUR + DAY

    await store.expire_uploads(now=day_later - 1, limit=9)
    assert await status(store, upload) == UploadStatus.CANCELLED
    await store.expire_uploads(now=day_later, limit=9)

    assert await store.get_upload(upload.id, now=NOW) is None
