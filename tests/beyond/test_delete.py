"""Deleting a batch: itself, its files, its bytes; nothing that others need."""

from __future__ import annotations

import pytest
from aiohttp import web
from scripted import HANG, completion, error

from batchline.blobs.keys import OWNER_KEY
from batchline.model import NewBatch, new_batch_id


async def delete(house, batch):
    return await house.call("DELETE", f"/batches/{batch.id}")


def half(body, attempt):
    return error(400, "no") if int(body["tag"][1:]) % 2 else web.json_response(completion())


async def again(house, batch):
    """Create a second batch over the same input file."""
    return await house.store.add_batch(
        NewBatch(
            id=new_batch_id(),
            endpoint=batch.endpoint,
            input_file_id=batch.input_file_id,
            input_key=batch.input_key,
            completion_window="24h",
            created_at=batch.created_at,
            expires_at=batch.expires_at,
        )
    )


async def clean(house):
    """Do what housekeeping does: prune rows, delete garbage."""
    while await house.store.prune(limit=100):
        pass
    for key in await house.store.garbage(limit=1000):
        await house.blobs.delete(key)


@pytest.mark.spec("beyond-delete")
async def test_everything_of_a_batch_goes_with_it(house, upstream):
    """Batch, files and routes are gone at once; rows and bytes with the next housekeeping."""
    upstream.script = half
    batch = await house.submit(20)
    async with house.running():
        batch = await house.ended(batch)

    answer = await delete(house, batch)
    gone = [
        (await house.call("GET", path)).status
        for path in (
            f"/batches/{batch.id}",
            f"/batches/{batch.id}/results",
            f"/files/{batch.input_file_id}",
            f"/files/{batch.output_file_id}",
            f"/files/{batch.error_file_id}/content",
        )
    ]
    await clean(house)

    assert answer.json == {"id": batch.id, "object": "batch", "deleted": True}
    assert gone == [404] * 5
    assert (await delete(house, batch)).status == 404
    files = [p for p in (house.tmp_path / "blobs").rglob("*") if p.is_file()]
    assert [p for p in files if p.name != OWNER_KEY] == []
    async with house.store._database.read() as tx:
        for table in ("batches", "files", "slices", "outcomes", "segments"):
            assert await tx.rows(f"SELECT * FROM {table}") == [], table


async def test_an_input_that_another_batch_names_stays(house, upstream):
    """The file goes with the last batch that names it."""
    first = await house.submit(4)
    second = await again(house, first)
    async with house.running():
        await house.ended(first)
        await house.ended(second)

    await delete(house, first)
    still = await house.call("GET", f"/files/{first.input_file_id}/content")
    await delete(house, second)

    assert still.status == 200
    assert (await house.call("GET", f"/files/{first.input_file_id}")).status == 404


@pytest.mark.spec("beyond-delete-open")
@pytest.mark.parametrize("paused", [False, True])
async def test_an_open_batch_is_cancelled_and_goes_when_asked_again(house, upstream, paused):
    """The answer is that of a cancel; while it is being cancelled, the same again."""
    upstream.script = lambda body, attempt: HANG
    batch = await house.submit(3)
    async with house.running():
        await upstream.arrived.wait()
        if paused:
            await house.call("POST", f"/batches/{batch.id}/pause")
        cancelled = await delete(house, batch)
        ended = await house.ended(batch)
        taken = await delete(house, batch)

    assert (cancelled.status, cancelled.json["id"]) == (200, batch.id)
    assert cancelled.json["status"] == "cancelling"
    assert ended.status == "cancelled"
    assert taken.json == {"id": batch.id, "object": "batch", "deleted": True}


async def test_files_deleted_before_do_not_matter(house, upstream):
    """Whoever cleaned up by hand can still delete the batch."""
    batch = await house.submit(2)
    async with house.running():
        batch = await house.ended(batch)
    await house.call("DELETE", f"/files/{batch.input_file_id}")
    await house.call("DELETE", f"/files/{batch.output_file_id}")

    assert (await delete(house, batch)).status == 200
