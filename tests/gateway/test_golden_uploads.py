"""Golden uploads: the objects of a file sent in parts, and each of its errors."""

from __future__ import annotations

import hashlib

import aiohttp
import pytest
from goldens import Shapes, names
from sdk_shapes import parse_strictly

CONTENT = b'{"custom_id":"a"}\n' * 3
WANTED = {
    "filename": "big.jsonl",
    "purpose": "batch",
    "bytes": len(CONTENT),
    "mime_type": "application/jsonl",
}


async def create(gateway, **changes):
    wanted = {name: value for name, value in (WANTED | changes).items() if value is not ...}
    return await gateway.call("POST", "/v1/uploads", json=wanted)


async def part(gateway, upload_id, content=CONTENT, name="data"):
    form = aiohttp.FormData()
    form.add_field(name, content, filename="upload")
    return await gateway.call("POST", f"/v1/uploads/{upload_id}/parts", data=form)


async def complete(gateway, upload_id, part_ids, **more):
    body = {"part_ids": part_ids} | more
    return await gateway.call("POST", f"/v1/uploads/{upload_id}/complete", json=body)


async def cancel(gateway, upload_id):
    return await gateway.call("POST", f"/v1/uploads/{upload_id}/cancel")


async def begun(gateway):
    return (await create(gateway)).json["id"]


async def filled(gateway):
    """Make an upload with its one part; return both ids."""
    upload_id = await begun(gateway)
    return upload_id, (await part(gateway, upload_id)).json["id"]


async def pending(gateway):
    return await create(gateway)


async def one_part(gateway):
    return await part(gateway, await begun(gateway))


async def completed(gateway):
    upload_id, part_id = await filled(gateway)
    gateway.clock.advance(10)
    md5 = hashlib.md5(CONTENT).hexdigest()
    return await complete(gateway, upload_id, [part_id], md5=md5)


async def cancelled(gateway):
    upload_id, _ = await filled(gateway)
    gateway.clock.advance(10)
    return await cancel(gateway, upload_id)


OBJECTS = {
    f"uploads/{story.__name__}": story for story in (pending, one_part, completed, cancelled)
}


@pytest.mark.spec("8-object", "8-create", "8-part", "8-complete", "8-cancel", "8-expires-at")
@pytest.mark.parametrize("name", OBJECTS)
async def test_uploads_are_as_last_reviewed(gateway, golden, name):
    """Every field equals the golden; the SDK's type parses it strictly, field for field."""
    answer = await OBJECTS[name](gateway)

    assert answer.status == 200
    parse_strictly(answer.body, answer.json)
    golden.check(name, Shapes(now=int(gateway.clock())).of(answer.json))


async def wrong_sum(gateway):
    upload_id = (await create(gateway, bytes=7)).json["id"]
    part_id = (await part(gateway, upload_id)).json["id"]
    return await complete(gateway, upload_id, [part_id])


async def wrong_md5(gateway):
    upload_id, part_id = await filled(gateway)
    return await complete(gateway, upload_id, [part_id], md5="0" * 32)


async def unknown_part(gateway):
    upload_id, _ = await filled(gateway)
    return await complete(gateway, upload_id, ["part_none"])


async def no_part_ids(gateway):
    upload_id, _ = await filled(gateway)
    return await complete(gateway, upload_id, [])


async def part_twice(gateway):
    upload_id, part_id = await filled(gateway)
    return await complete(gateway, upload_id, [part_id, part_id])


async def part_after_cancel(gateway):
    upload_id = await begun(gateway)
    await cancel(gateway, upload_id)
    return await part(gateway, upload_id)


async def cancel_twice(gateway):
    upload_id = await begun(gateway)
    await cancel(gateway, upload_id)
    return await cancel(gateway, upload_id)


async def complete_twice(gateway):
    upload_id, part_id = await filled(gateway)
    await complete(gateway, upload_id, [part_id])
    return await complete(gateway, upload_id, [part_id])


async def part_too_late(gateway):
    upload_id = await begun(gateway)
    gateway.clock.advance(3601)
    return await part(gateway, upload_id)


async def part_of_nothing(gateway):
    return await part(gateway, "upload_none")


async def part_without_data(gateway):
    return await part(gateway, await begun(gateway), name="file")


async def empty_part(gateway):
    return await part(gateway, await begun(gateway), content=b"")


async def get(gateway):
    return await gateway.call("GET", f"/v1/uploads/{await begun(gateway)}")


async def purpose_unknown(gateway):
    return await create(gateway, purpose="mischief")


async def bytes_negative(gateway):
    return await create(gateway, bytes=-1)


async def bytes_too_many(gateway):
    return await create(gateway, bytes=1 << 50)


async def bytes_missing(gateway):
    return await create(gateway, bytes=...)


async def mime_type_missing(gateway):
    return await create(gateway, mime_type=...)


async def filename_missing(gateway):
    return await create(gateway, filename=...)


async def filename_a_number(gateway):
    return await create(gateway, filename=7)


ERRORS = {
    f"upload_errors/{story.__name__}": story
    for story in (
        *(wrong_sum, wrong_md5, unknown_part, no_part_ids, part_twice, part_after_cancel),
        *(cancel_twice, complete_twice, part_too_late, part_of_nothing, part_without_data),
        *(empty_part, get, purpose_unknown, bytes_negative, bytes_too_many, bytes_missing),
        *(mime_type_missing, filename_missing, filename_a_number),
    )
}


@pytest.mark.spec("8-not-pending", "8-unknown", "8-unknown-part", "8-create-required", "8-no-get")
@pytest.mark.parametrize("name", ERRORS)
async def test_errors_of_uploads_are_as_last_reviewed(gateway, golden, name):
    """Status and each field of the error object equal the golden."""
    answer = await ERRORS[name](gateway)

    assert answer.json["error"].keys() == {"message", "type", "param", "code"}
    shapes = Shapes(now=int(gateway.clock()))
    golden.check(name, {"status": answer.status, "body": shapes.of(answer.json)})


def test_no_golden_upload_is_left_over():
    """A golden that nothing compares would be a false promise."""
    assert names("uploads") | names("upload_errors") == {*OBJECTS, *ERRORS}
