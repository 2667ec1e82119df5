"""The contract of `Uploads`: every move from pending, and what becomes garbage by it."""

from __future__ import annotations

import pytest

from batchline.api.uploads import (
    MAX_PARTS,
    Admission,
    Part,
    Upload,
    UploadStatus,
    new_part_id,
    new_upload_id,
)
from batchline.blobs.keys import file_key, part_key, parts_prefix
from batchline.model import File

NOW = 1_800_000_000
HOUR = 3600


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


async def add_part(store, upload, *, size=4, now=NOW, max_bytes=100):
    part = Part(new_part_id(), upload.id, size, now)
    return await store.add_part(part, now=now, max_bytes=max_bytes)


def file(name="file-a"):
    return File(name, 4, NOW, None, "f.jsonl", "batch", file_key(name))


async def status(store, upload, *, now=NOW):
    found = await store.get_upload(upload.id, now=now)
    return found and found.status


async def test_an_upload_comes_back_as_it_was_added(store, upload):
    """Every column has its field."""
    assert await store.get_upload(upload.id, now=NOW) == upload
    assert await store.get_upload("upload_x", now=NOW) is None


async def test_an_upload_is_expired_at_its_second_before_any_sweep(store, upload):
    """What clients see does not hang on when the sweep comes."""
    assert await status(store, upload, now=NOW + HOUR - 1) == UploadStatus.PENDING
    assert await status(store, upload, now=NOW + HOUR) == UploadStatus.EXPIRED
    assert await add_part(store, upload, now=NOW + HOUR) is Admission.CLOSED
    assert not await store.begin_join(upload.id, "files/a", now=NOW + HOUR)
    assert not await store.cancel_upload(upload.id, now=NOW + HOUR)


async def test_parts_are_taken_while_they_fit(store, upload):
    """The bound holds for all parts together, and is itself allowed."""
    assert await add_part(store, upload, size=60) is Admission.TAKEN
    assert await add_part(store, upload, size=41) is Admission.FULL
    assert await add_part(store, upload, size=40) is Admission.TAKEN
    assert sorted(part.bytes for part in await store.parts(upload.id)) == [40, 60]


async def test_the_number_of_parts_is_bounded(store, upload):
    """However small they are."""
    parts = [(upload.id, new_part_id()) for _ in range(MAX_PARTS)]
    async with store._database.write() as tx:
        await tx.run_many("INSERT INTO upload_parts VALUES (?, ?, 0, 0)", parts)

    assert await add_part(store, upload) is Admission.FULL


async def test_completing_adds_the_file_and_drops_the_parts(store, upload):
    """One transaction: the file is there, the parts are garbage, the joined blob is not."""
    await add_part(store, upload)
    assert await store.begin_join(upload.id, file().blob_key, now=NOW)

    assert await store.complete_upload(upload.id, file())

    done = await store.get_upload(upload.id, now=NOW + HOUR)
    assert (done.status, done.file_id) == (UploadStatus.COMPLETED, "file-a")
    assert await store.get_file("file-a", now=NOW) == file()
    assert await store.parts(upload.id) == []
    assert await store.garbage(limit=9) == [parts_prefix(upload.id)]


async def test_a_later_completion_fences_off_an_earlier_one(store, upload):
    """The earlier blob is garbage, whether its writer knows or not."""
    early, late = file("file-early"), file("file-late")
    assert await store.begin_join(upload.id, early.blob_key, now=NOW)
    assert await store.begin_join(upload.id, late.blob_key, now=NOW)

    assert not await store.complete_upload(upload.id, early)
    assert await store.complete_upload(upload.id, late)

    assert await store.get_file("file-early", now=NOW) is None
    assert set(await store.garbage(limit=9)) == {early.blob_key, parts_prefix(upload.id)}


async def test_cancelling_under_a_completion_wins(store, upload):
    """The completion learns that it lost, and what it joined is garbage."""
    assert await store.begin_join(upload.id, file().blob_key, now=NOW)

    assert await store.cancel_upload(upload.id, now=NOW)

    assert not await store.complete_upload(upload.id, file())
    assert await store.get_file("file-a", now=NOW) is None
    assert set(await store.garbage(limit=9)) == {file().blob_key, parts_prefix(upload.id)}


@pytest.mark.parametrize("end", ["completed", "cancelled", "expired"])
async def test_nothing_moves_what_has_ended(store, upload, end):
    """An end is final."""
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
    """Never more at once than asked for, and none before its hour."""
    due = [await add(store) for _ in range(3)]
    kept = await add(store, expires_at=NOW + HOUR + 1)
    await store.begin_join(due[0].id, "files/torn", now=NOW)

    counts = [await store.expire_uploads(now=NOW + HOUR, limit=2) for _ in range(3)]

    assert counts == [2, 1, 0]
    assert await status(store, kept) == UploadStatus.PENDING
    expected = {"files/torn", *(parts_prefix(upload.id) for upload in due)}
    assert set(await store.garbage(limit=9)) == expected


async def test_ended_uploads_are_forgotten_a_day_later(store, upload):
    """Until then a late call learns what became of them."""
    await store.cancel_upload(upload.id, now=NOW)
    day_later = NOW + HOUR + 86400

    await store.expire_uploads(now=day_later - 1, limit=9)
    assert await status(store, upload) == UploadStatus.CANCELLED
    await store.expire_uploads(now=day_later, limit=9)

    assert await store.get_upload(upload.id, now=NOW) is None


async def test_a_pending_upload_names_its_parts(store, upload):
    """They are no orphans while it may still be completed; what comes after its end is one."""
    key = part_key(upload.id, "part_a")
    assert await store.suspect([key], now=NOW, first_seen_before=NOW) == []

    await store.cancel_upload(upload.id, now=NOW)

    assert await store.suspect([key], now=NOW, first_seen_before=NOW) == []  # garbage as a whole
    await store.forget_garbage(await store.garbage(limit=9))
    assert await store.suspect([key], now=NOW, first_seen_before=NOW) == [key]
