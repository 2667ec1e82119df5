"""The rules of `/v1/uploads` as clients see them."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json

import aiohttp
import openai
import pytest

from batchline.blobs.keys import file_key, part_key
from batchline.metrics import Metrics
from batchline.model import new_file_id
from dispatcher.upkeep.sweep import Sweep

LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}\n'
CREATE = {
    "filename": "lines.jsonl",
    "purpose": "batch",
    "bytes": len(LINE),
    "mime_type": "application/jsonl",
}


async def create(gateway, **fields):
    wanted = {name: value for name, value in (CREATE | fields).items() if value is not ...}
    return await gateway.call("POST", "/v1/uploads", json=wanted)


async def begun(gateway, **fields):
    """Create an upload and return its id."""
    answer = await create(gateway, **fields)
    assert answer.status == 200, answer.json
    return answer.json["id"]


async def send(gateway, upload_id, content=LINE):
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("data", content, filename="upload")
    return await gateway.call("POST", f"/v1/uploads/{upload_id}/parts", data=form)


async def part(gateway, upload_id, content=LINE):
    """Send a part and return its id."""
    answer = await send(gateway, upload_id, content)
    assert answer.status == 200, answer.json
    return answer.json["id"]


async def complete(gateway, upload_id, part_ids, **fields):
    return await gateway.call(
        "POST", f"/v1/uploads/{upload_id}/complete", json={"part_ids": part_ids} | fields
    )


async def cancel(gateway, upload_id):
    return await gateway.call("POST", f"/v1/uploads/{upload_id}/cancel")


async def sweep(gateway):
    """Let housekeeping do one round."""
    clean = Sweep(
        gateway.store, gateway.blobs, metrics=Metrics(), batch_ttl_s=0, clock=gateway.clock
    )
    await clean.step()


@pytest.mark.spec("8-object", "8-create", "8-expires-at")
async def test_an_upload_has_every_field(gateway):
    """It is pending for an hour and has no file yet."""
    answer = await create(gateway)

    now = int(gateway.clock())
    assert answer.status == 200
    assert answer.json == {
        "id": answer.json["id"],
        "object": "upload",
        "bytes": len(LINE),
        "created_at": now,
        "expires_at": now + 3600,
        "filename": "lines.jsonl",
        "purpose": "batch",
        "status": "pending",
        "file": None,
    }
    assert answer.json["id"].startswith("upload_")


@pytest.mark.spec("8-part")
async def test_a_part_has_every_field(gateway):
    """Its id is what `complete` names."""
    upload_id = await begun(gateway)

    answer = await send(gateway, upload_id)

    assert answer.json == {
        "id": answer.json["id"],
        "object": "upload.part",
        "created_at": int(gateway.clock()),
        "upload_id": upload_id,
    }
    assert answer.json["id"].startswith("part_")


@pytest.mark.spec("8-complete", "8-parallel-parts")
async def test_parts_sent_together_are_joined_in_the_order_named(gateway):
    """When they came does not matter; the file is an ordinary one, and nothing else stays."""
    pieces = [bytes([65 + n]) * (n + 1) for n in range(8)]
    whole = b"".join(reversed(pieces))
    upload_id = await begun(gateway, bytes=len(whole), purpose="evals", filename="../e")
    ids = await asyncio.gather(*(part(gateway, upload_id, piece) for piece in pieces))

    answer = await complete(gateway, upload_id, ids[::-1], md5=hashlib.md5(whole).hexdigest())

    assert answer.status == 200, answer.json
    assert answer.json["status"] == "completed"
    file = answer.json["file"]
    assert (file["bytes"], file["purpose"], file["filename"]) == (len(whole), "evals", "e")
    assert (await gateway.call("GET", f"/v1/files/{file['id']}")).json == file
    assert (await gateway.client.files.content(file["id"])).content == whole
    await sweep(gateway)
    assert len(gateway.stored()) == 1


@pytest.mark.spec("8-complete")
async def test_parts_that_are_not_named_are_left_out(gateway):
    """A part sent twice, since the first answer was lost, does no harm."""
    upload_id = await begun(gateway)
    await part(gateway, upload_id)
    second = await part(gateway, upload_id)

    answer = await complete(gateway, upload_id, [second])

    assert answer.json["file"]["bytes"] == len(LINE)


@pytest.mark.spec("8-sdk-chunked")
@pytest.mark.parametrize("with_md5", [False, True])
async def test_the_stock_client_uploads_a_path_in_parts(gateway, tmp_path, with_md5):
    """`upload_file_chunked` works with parts of any size, and the file can be used for a batch."""
    content = LINE * 3000
    path = tmp_path / "many.jsonl"
    path.write_bytes(content)
    md5 = {"md5": hashlib.md5(content).hexdigest()} if with_md5 else {}

    upload = await gateway.client.uploads.upload_file_chunked(
        file=path, mime_type="application/jsonl", purpose="batch", part_size=50_000, **md5
    )

    assert (upload.status, upload.bytes) == ("completed", len(content))
    assert (upload.file.filename, upload.file.status) == ("many.jsonl", "processed")
    assert (await gateway.client.files.content(upload.file.id)).content == content
    batch = await gateway.create_batch(input_file_id=upload.file.id)
    assert batch.input_file_id == upload.file.id


@pytest.mark.spec("8-sdk-chunked")
async def test_the_stock_client_uploads_bytes_in_parts(gateway):
    """The same out of memory."""
    upload = await gateway.client.uploads.upload_file_chunked(
        file=LINE * 3,
        filename="x.jsonl",
        bytes=len(LINE) * 3,
        mime_type="text/plain",
        purpose="batch",
    )

    assert upload.file.bytes == len(LINE) * 3


async def test_a_compressed_batch_file_in_parts_is_unpacked(gateway):
    """`bytes` and `md5` are those of what is sent, the file is what comes out, as with POST /v1/files."""
    packed = gzip.compress(LINE * 1000)
    upload_id = await begun(gateway, bytes=len(packed), filename="lines.jsonl.gz")
    ids = [await part(gateway, upload_id, packed[:50]), await part(gateway, upload_id, packed[50:])]

    answer = await complete(gateway, upload_id, ids, md5=hashlib.md5(packed).hexdigest())

    file = answer.json["file"]
    assert (file["bytes"], file["filename"]) == (len(LINE) * 1000, "lines.jsonl")
    assert answer.json["bytes"] == len(packed)


async def test_a_part_may_be_compressed_on_its_way(gateway):
    """Content-Encoding of the part is taken off before it counts."""
    upload_id = await begun(gateway)
    packed = ("upload", gzip.compress(LINE), "text/plain", {"Content-Encoding": "gzip"})

    part = await gateway.client.uploads.parts.create(upload_id, data=packed)

    assert (await complete(gateway, upload_id, [part.id])).status == 200


@pytest.mark.spec("8-expires-after")
@pytest.mark.parametrize(
    ("purpose", "expires_after", "ttl_s"),
    [
        ("batch", {"anchor": "created_at", "seconds": 3600}, 3600),
        ("batch", None, 2_592_000),
        ("batch", ..., 2_592_000),
        ("evals", ..., None),
        ("evals", {"anchor": "created_at", "seconds": 7200}, 7200),
    ],
)
async def test_the_file_expires_as_asked(gateway, purpose, expires_after, ttl_s):
    """Counted from when the file is made, not from when the upload was."""
    upload_id = await begun(gateway, purpose=purpose, expires_after=expires_after)
    part_id = await part(gateway, upload_id)
    gateway.clock.advance(100)

    file = (await complete(gateway, upload_id, [part_id])).json["file"]

    assert file["created_at"] == int(gateway.clock())
    assert file["expires_at"] == (ttl_s and file["created_at"] + ttl_s)


CREATE_FAULTS = {
    "no filename": ({"filename": ...}, "filename", "missing_required_parameter", "'filename'"),
    "no purpose": ({"purpose": ...}, "purpose", "missing_required_parameter", "'purpose'"),
    "no bytes": ({"bytes": ...}, "bytes", "missing_required_parameter", "'bytes'"),
    "no mime_type": ({"mime_type": ...}, "mime_type", "missing_required_parameter", "'mime_type'"),
    "filename no string": ({"filename": 1}, "filename", "invalid_type", "an integer"),
    "bytes no integer": ({"bytes": "9"}, "bytes", "invalid_type", "expected an integer"),
    "bytes a decimal": ({"bytes": 9.5}, "bytes", "invalid_type", "expected an integer"),
    "bytes negative": ({"bytes": -1}, "bytes", "integer_below_min_value", "Expected a value >= 0"),
    "bytes beyond": (
        {"bytes": (8 << 30) + 1},
        "bytes",
        "integer_above_max_value",
        "Expected a value <= 8589934592",
    ),
    "output purpose": ({"purpose": "batch_output"}, "purpose", None, "'batch_output' is not one"),
    "purpose no string": ({"purpose": []}, "purpose", "invalid_type", "an array"),
    "nothing for a batch": ({"bytes": 0}, None, None, "Must be .jsonl"),
    "expiry no object": ({"expires_after": 1}, "expires_after", "invalid_type", "an object"),
    "expiry too long": (
        {"expires_after": {"anchor": "created_at", "seconds": 2_592_001}},
        "expires_after.seconds",
        "integer_above_max_value",
        "<= 2592000",
    ),
    "other anchor": (
        {"expires_after": {"anchor": "now", "seconds": 3600}},
        "expires_after.anchor",
        "invalid_value",
        "'created_at'",
    ),
}


@pytest.mark.spec("8-create-required")
@pytest.mark.parametrize("case", CREATE_FAULTS.values(), ids=CREATE_FAULTS.keys())
async def test_bad_uploads_are_refused(gateway, case):
    """Each message names the parameter and what is allowed."""
    fields, param, code, message = case

    answer = await create(gateway, **fields)

    assert answer.status == 400
    error = answer.json["error"]
    assert (error["param"], error["code"]) == (param, code)
    assert message in error["message"]


COMPLETION_FAULTS = {
    "no part_ids": ({}, "part_ids", "missing_required_parameter", "'part_ids'"),
    "no array": ({"part_ids": "x"}, "part_ids", "invalid_type", "an array of strings"),
    "no strings": ({"part_ids": [1]}, "part_ids[0]", "invalid_type", "a string"),
    "unknown": ({"part_ids": ["part_x"]}, "part_ids", None, "has no part 'part_x'"),
    "twice": ({"part_ids": ["{id}", "{id}"]}, "part_ids", None, "only once"),
    "too few": ({"part_ids": []}, "part_ids", None, "add up to 0 bytes"),
    "md5 no string": ({"part_ids": ["{id}"], "md5": 1}, "md5", "invalid_type", "a string"),
    "other md5": ({"part_ids": ["{id}"], "md5": "0" * 32}, "md5", None, "The MD5 of the parts"),
}


@pytest.mark.spec("8-complete-bytes", "8-complete-md5", "8-unknown-part")
@pytest.mark.parametrize("case", COMPLETION_FAULTS.values(), ids=COMPLETION_FAULTS.keys())
async def test_a_refused_completion_can_be_asked_for_again(gateway, case):
    """It names the fault, makes no file, and leaves the upload as it was."""
    fields, param, code, message = case
    upload_id = await begun(gateway)
    part_id = await part(gateway, upload_id)
    body = json.loads(json.dumps(fields).replace("{id}", part_id))

    refused = await gateway.call("POST", f"/v1/uploads/{upload_id}/complete", json=body)

    error = refused.json["error"]
    assert (refused.status, error["param"], error["code"]) == (400, param, code)
    assert message in error["message"]
    assert (await gateway.client.files.list()).data == []
    md5 = hashlib.md5(LINE).hexdigest().upper()
    assert (await complete(gateway, upload_id, [part_id], md5=md5)).status == 200


@pytest.mark.spec("8-complete-bytes")
async def test_parts_of_another_upload_do_not_count(gateway):
    """An upload consists of its own parts."""
    mine, other = await begun(gateway), await begun(gateway)
    part_id = await part(gateway, other)

    answer = await complete(gateway, mine, [part_id])

    assert answer.status == 400
    assert f"Upload {mine} has no part" in answer.json["error"]["message"]


@pytest.mark.spec("2.2-not-utf8")
async def test_a_batch_file_in_parts_that_is_not_utf8_is_refused(gateway):
    """Told by its first bytes, however they are spread over parts."""
    text = '{"custom_id": "é"}\n'.encode("utf-16")
    upload_id = await begun(gateway, bytes=len(text))
    parts = [await part(gateway, upload_id, piece) for piece in (text[:1], text[1:3], text[3:])]

    answer = await complete(gateway, upload_id, parts)

    assert answer.status == 400
    assert "It is UTF-16LE, but must be UTF-8." in answer.json["error"]["message"]
    assert (await gateway.client.files.list()).data == []


async def test_a_blank_batch_file_in_parts_is_refused(gateway):
    """The same rule as for POST /v1/files."""
    upload_id = await begun(gateway, bytes=4)
    part_id = await part(gateway, upload_id, b" \n\t\n")

    answer = await complete(gateway, upload_id, [part_id])

    assert answer.status == 400
    assert answer.json["error"]["message"] == "Invalid file format for Batch API. Must be .jsonl"
    assert (await gateway.client.files.list()).data == []


async def test_a_bomb_in_parts_is_stopped_at_the_limit(starts):
    """What the parts unpack to is bounded as well."""
    gateway = await starts(max_upload_bytes=1_000_000)
    packed = gzip.compress(b"x" * 50_000_000)
    upload_id = await begun(gateway, bytes=len(packed), filename="a.gz")
    part_id = await part(gateway, upload_id, packed)

    answer = await complete(gateway, upload_id, [part_id])

    assert answer.status == 400
    assert "File is too large. The limit is 1000000 bytes" in answer.json["error"]["message"]


@pytest.mark.spec("8-part-size")
async def test_a_part_over_64_mb_is_refused(gateway):
    """By its announced length, and by its bytes where it announces none."""
    megabyte = b"x" * (1 << 20)
    upload_id = await begun(gateway)

    async def endless():
        yield b'--b\r\nContent-Disposition: form-data; name="data"; filename="upload"\r\n\r\n'
        for _ in range(65):
            yield megabyte

    announced = await send(gateway, upload_id, megabyte * 65)
    streamed = await gateway.call(
        "POST",
        f"/v1/uploads/{upload_id}/parts",
        data=endless(),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )

    for answer in (announced, streamed):
        assert answer.status == 400
        assert "Part is too large. The limit is 67108864 bytes" in answer.json["error"]["message"]
    assert gateway.stored() == []


@pytest.mark.spec("8-part-size")
def test_a_part_may_have_what_the_stock_client_sends():
    """The SDK cuts at 64 MiB."""
    from openai.resources.uploads.uploads import DEFAULT_PART_SIZE

    from gateway.routes.uploads import MAX_PART_BYTES

    assert MAX_PART_BYTES >= DEFAULT_PART_SIZE


@pytest.mark.spec("8-total-size")
async def test_all_parts_together_are_bounded(starts):
    """Whatever the upload was created for, it cannot fill the disk."""
    gateway = await starts(max_upload_bytes=100)
    upload_id = await begun(gateway)
    await part(gateway, upload_id, b"x" * 60)

    answer = await send(gateway, upload_id, b"x" * 41)

    assert answer.status == 400
    assert "is full: its parts may have 100 bytes in all" in answer.json["error"]["message"]
    assert len(gateway.stored()) == 1


@pytest.mark.parametrize(
    ("content", "field", "message"),
    [
        (b"", "data", "The part is empty."),
        (b"x", "file", "Missing required parameter: 'data'."),
    ],
)
async def test_bad_parts_are_refused(gateway, content, field, message):
    """And nothing stays of them."""
    upload_id = await begun(gateway)
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field(field, content, filename="upload")

    answer = await gateway.call("POST", f"/v1/uploads/{upload_id}/parts", data=form)

    assert answer.status == 400
    assert (answer.json["error"]["message"], answer.json["error"]["param"]) == (message, "data")
    assert gateway.stored() == []


@pytest.mark.spec("8-cancel")
async def test_a_cancelled_upload_leaves_nothing(gateway):
    """Its parts go with the next sweep."""
    upload = await gateway.client.uploads.create(**CREATE)
    await gateway.client.uploads.parts.create(upload.id, data=LINE)

    cancelled = await gateway.client.uploads.cancel(upload.id)

    assert (cancelled.status, cancelled.file) == ("cancelled", None)
    await sweep(gateway)
    assert gateway.stored() == []


async def ended_by(gateway, how, upload_id, part_id):
    match how:
        case "completed":
            assert (await complete(gateway, upload_id, [part_id])).status == 200
        case "cancelled":
            assert (await cancel(gateway, upload_id)).status == 200
        case _:
            gateway.clock.advance(3600)


@pytest.mark.spec("8-not-pending", "8-expired")
@pytest.mark.parametrize("how", ["completed", "cancelled", "expired"])
async def test_what_has_ended_takes_nothing_any_more(gateway, how):
    """Parts, complete and cancel are 400 and say what became of it, before and after the sweep."""
    upload_id = await begun(gateway)
    part_id = await part(gateway, upload_id)
    await ended_by(gateway, how, upload_id, part_id)

    for _ in range(2):
        answers = [
            await send(gateway, upload_id),
            await complete(gateway, upload_id, [part_id]),
            await cancel(gateway, upload_id),
        ]
        for answer in answers:
            assert answer.status == 400
            assert f"its status is '{how}'" in answer.json["error"]["message"]
        await sweep(gateway)
    assert len(gateway.stored()) == (how == "completed")


@pytest.mark.spec("8-expired")
async def test_an_upload_takes_parts_until_its_hour_is_over(gateway):
    """The last second counts."""
    upload_id = await begun(gateway)
    gateway.clock.advance(3599)
    await sweep(gateway)

    part_id = await part(gateway, upload_id)

    assert (await complete(gateway, upload_id, [part_id])).status == 200


async def test_ended_uploads_are_forgotten_after_a_day(gateway):
    """Rows of abandoned uploads do not pile up."""
    upload_id = await begun(gateway)
    gateway.clock.advance(3600 + 86400)

    await sweep(gateway)

    assert (await cancel(gateway, upload_id)).status == 404


@pytest.mark.spec("8-unknown", "8-no-get")
@pytest.mark.parametrize("action", ["parts", "complete", "cancel"])
async def test_unknown_uploads_are_not_found(gateway, action):
    """Before anything of the body is looked at; and uploads cannot be read back."""
    answer = await gateway.call("POST", f"/v1/uploads/upload_x/{action}", data=b"junk")

    assert answer.status == 404
    assert answer.json["error"]["message"] == "No such Upload object: upload_x"
    assert (await gateway.call("GET", "/v1/uploads/upload_x")).status == 404
    assert (await gateway.call("GET", "/v1/uploads")).status == 405


async def test_the_stock_client_sees_a_wrong_md5_as_a_bad_request(gateway):
    """And can name the parts anew."""
    with pytest.raises(openai.BadRequestError, match="The MD5 of the parts") as caught:
        await gateway.client.uploads.upload_file_chunked(
            file=LINE,
            filename="a",
            bytes=len(LINE),
            mime_type="text/plain",
            purpose="batch",
            md5="f" * 32,
        )

    assert caught.value.param == "md5"


async def test_of_two_completions_at_once_one_makes_the_file(gateway):
    """Whoever loses is told so, and the file has the bytes its maker asked for."""
    upload_id = await begun(gateway, bytes=4, purpose="evals")
    a, b = await part(gateway, upload_id, b"aa"), await part(gateway, upload_id, b"bb")

    answers = await asyncio.gather(
        *(complete(gateway, upload_id, order) for order in ([a, b], [b, a]) * 4)
    )

    won = [answer for answer in answers if answer.status == 200]
    assert len(won) == 1
    assert {answer.status for answer in answers} <= {200, 400, 409}
    content = (await gateway.client.files.content(won[0].json["file"]["id"])).content
    expected = [b"aabb", b"bbaa"][answers.index(won[0]) % 2]
    assert content == expected
    await sweep(gateway)
    assert len(gateway.stored()) == 1


async def test_a_completion_that_died_can_be_asked_for_again(gateway):
    """Killed after the bytes and before the row: the next attempt makes the file, the sweep cleans up."""
    upload_id = await begun(gateway)
    part_id = await part(gateway, upload_id)
    torn = file_key(new_file_id())
    assert await gateway.store.begin_join(upload_id, torn, now=int(gateway.clock()))
    writer = gateway.blobs.create(torn)
    await writer.write(LINE)
    await writer.commit()

    answer = await complete(gateway, upload_id, [part_id])

    assert answer.status == 200
    await sweep(gateway)
    assert len(gateway.stored()) == 1
    assert (await gateway.client.files.content(answer.json["file"]["id"])).content == LINE


async def test_a_completion_that_died_is_cleaned_up_with_its_upload(gateway):
    """If nobody asks again, the expiry takes the joined bytes too."""
    upload_id = await begun(gateway)
    await part(gateway, upload_id)
    torn = file_key(new_file_id())
    assert await gateway.store.begin_join(upload_id, torn, now=int(gateway.clock()))
    writer = gateway.blobs.create(torn)
    await writer.write(LINE)
    await writer.commit()
    gateway.clock.advance(3600)

    await sweep(gateway)

    assert gateway.stored() == []


async def test_lost_parts_are_said_to_be_lost(gateway):
    """A part whose bytes are damaged never becomes a file that passes for whole."""
    upload_id = await begun(gateway)
    part_id = await part(gateway, upload_id)
    path = gateway.folder / "blobs" / part_key(upload_id, part_id)
    path.write_bytes(LINE[:-1])

    shorter = await complete(gateway, upload_id, [part_id])
    path.unlink()
    gone = await complete(gateway, upload_id, [part_id])

    for answer in (shorter, gone):
        assert answer.status == 503
        assert f"stored part {part_id} is" in answer.json["error"]["message"]
    assert (await gateway.client.files.list()).data == []
    assert gateway.stored() == []
