"""Compressed bodies: told by a header of the request, of the part, or by the file's name."""

from __future__ import annotations

import gzip
import json
import os

import pytest

from batchline.jsonl.compression import zstd

LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}\n'
PACK = {"gzip": gzip.compress, "zstd": zstd.compress}
ENDING = {"gzip": ".gz", "zstd": ".zst"}
FORM = {"Content-Type": "multipart/form-data; boundary=b"}

each_coding = pytest.mark.parametrize("coding", PACK)


def field(name, value):
    return b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (
        name.encode(),
        value.encode(),
    )


def file(content, name="lines.jsonl", coding=None, extra=b""):
    header = f"Content-Encoding: {coding}\r\n".encode() if coding else b""
    return (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n%b%b\r\n%b\r\n'
        % (name.encode(), header, extra, content)
    )


BATCH = field("purpose", "batch")
END = b"--b--\r\n"


async def post(gateway, *parts, **headers):
    return await gateway.call(
        "POST",
        "/v1/files",
        data=b"".join(parts) + END,
        headers=FORM | {name.replace("_", "-"): value for name, value in headers.items()},
    )


async def content_of(gateway, file_id):
    return (await gateway.call("GET", f"/v1/files/{file_id}/content")).body


@pytest.mark.spec("beyond-compressed-encoding")
@each_coding
async def test_a_whole_request_may_be_compressed(gateway, coding):
    """Content-Encoding of the request covers the form; the file is stored as it was before."""
    form = PACK[coding](BATCH + file(LINE * 5000) + END)

    answer = await gateway.call(
        "POST", "/v1/files", data=form, headers=FORM | {"Content-Encoding": coding}
    )

    assert answer.status == 200, answer.json
    assert (answer.json["bytes"], answer.json["filename"]) == (len(LINE) * 5000, "lines.jsonl")
    assert await content_of(gateway, answer.json["id"]) == LINE * 5000


@pytest.mark.spec("beyond-compressed-encoding")
@each_coding
@pytest.mark.parametrize("name", ["lines.jsonl", "lines.jsonl{}"])
@pytest.mark.parametrize("purpose", ["batch", "user_data"])
async def test_the_part_may_say_how_it_is_compressed(gateway, coding, name, purpose):
    """Content-Encoding of the part is taken off, for any purpose, and the ending with it."""
    part = file(PACK[coding](LINE), name.format(ENDING[coding]), coding)

    answer = await post(gateway, field("purpose", purpose), part)

    assert answer.status == 200, answer.json
    assert (answer.json["bytes"], answer.json["filename"]) == (len(LINE), "lines.jsonl")


@pytest.mark.spec("beyond-compressed-name")
@each_coding
@pytest.mark.parametrize("order", ["purpose first", "file first"])
async def test_the_name_of_a_batch_file_says_how_it_is_compressed(gateway, coding, order):
    """Whatever comes first, the stored file is what the lines were before, under the plain name."""
    part = file(PACK[coding](LINE * 9), "my.lines.jsonl" + ENDING[coding].upper())

    answer = await post(gateway, *([BATCH, part] if order == "purpose first" else [part, BATCH]))

    assert answer.status == 200, answer.json
    assert (answer.json["bytes"], answer.json["filename"]) == (len(LINE) * 9, "my.lines.jsonl")
    assert await content_of(gateway, answer.json["id"]) == LINE * 9
    assert len(gateway.stored()) == 1


@each_coding
@pytest.mark.parametrize("order", ["purpose first", "file first"])
async def test_other_purposes_keep_a_compressed_file_as_it_is(gateway, coding, order):
    """Only the input of a batch is known to be wanted unpacked."""
    packed = PACK[coding](LINE)
    parts = [field("purpose", "evals"), file(packed, "set" + ENDING[coding])]

    answer = await post(gateway, *(parts if order == "purpose first" else parts[::-1]))

    assert (answer.json["bytes"], answer.json["filename"]) == (len(packed), "set" + ENDING[coding])
    assert await content_of(gateway, answer.json["id"]) == packed


async def test_a_compressed_request_may_hold_a_compressed_file(gateway):
    """The transport's coding and the file's are two."""
    form = gzip.compress(BATCH + file(zstd.compress(LINE), "a.jsonl.zst") + END)

    answer = await gateway.call(
        "POST", "/v1/files", data=form, headers=FORM | {"Content-Encoding": "gzip"}
    )

    assert (answer.json["bytes"], answer.json["filename"]) == (len(LINE), "a.jsonl")


async def test_a_file_named_only_by_its_ending_gets_a_name(gateway):
    """Nothing is left of `.gz`."""
    answer = await post(gateway, BATCH, file(gzip.compress(LINE), ".gz"))

    assert answer.json["filename"] == "upload"


@each_coding
async def test_the_stock_client_sends_compressed_files(gateway, coding, tmp_path):
    """A path with the ending is all it takes."""
    path = tmp_path / f"lines.jsonl{ENDING[coding]}"
    path.write_bytes(PACK[coding](LINE * 3))

    file = await gateway.client.files.create(file=path, purpose="batch")

    assert (file.filename, file.bytes) == ("lines.jsonl", len(LINE) * 3)
    assert (await gateway.client.files.content(file.id)).content == LINE * 3


@pytest.mark.spec("beyond-compressed-broken")
@each_coding
@pytest.mark.parametrize("order", ["purpose first", "file first"])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[:-3], "is cut short"),
        (lambda data: data + b"more", "followed by something else"),
        (lambda data: b"plain" + data, "is damaged, or no"),
        (lambda data: b"", "is cut short"),
    ],
    ids=["cut", "followed", "plain", "empty"],
)
async def test_broken_compressed_files_are_refused(gateway, coding, order, spoil, message):
    """The answer says which data is broken and how; nothing is left of it."""
    part = file(spoil(PACK[coding](LINE * 100)), "a" + ENDING[coding])

    answer = await post(gateway, *([BATCH, part] if order == "purpose first" else [part, BATCH]))

    assert answer.status == 400
    assert answer.json["error"]["code"] == "invalid_compressed_data"
    assert message in answer.json["error"]["message"]
    assert f"The {coding} data of the file" in answer.json["error"]["message"]
    assert gateway.stored() == []


@pytest.mark.spec("beyond-compressed-bomb")
@each_coding
@pytest.mark.parametrize("how", ["request", "part", "name", "name, file first"])
async def test_a_bomb_is_stopped_at_the_limit(starts, coding, how):
    """The limit counts unpacked bytes, however the bomb is packed."""
    gateway = await starts(max_file_bytes=1_000_000)
    content = b"x" * 60_000_000
    bomb = PACK[coding](content)
    headers = FORM
    match how:
        case "request":
            data = PACK[coding](BATCH + file(content) + END)
            headers = FORM | {"Content-Encoding": coding}
        case "part":
            data = BATCH + file(bomb, coding=coding) + END
        case "name":
            data = BATCH + file(bomb, "a" + ENDING[coding]) + END
        case _:
            data = file(bomb, "a" + ENDING[coding]) + BATCH + END

    answer = await gateway.call("POST", "/v1/files", data=data, headers=headers)

    assert answer.status == 400
    assert "File is too large. The limit is 1000000 bytes" in answer.json["error"]["message"]
    assert gateway.stored() == []


@each_coding
async def test_the_limit_itself_may_be_reached_by_what_cannot_be_compressed(starts, coding):
    """Packing noise makes it longer; that must not count."""
    gateway = await starts(max_file_bytes=1_000_000)

    answer = await post(
        gateway, BATCH, file(PACK[coding](os.urandom(1_000_000)), "a" + ENDING[coding])
    )

    assert answer.json["bytes"] == 1_000_000


@each_coding
async def test_blank_is_judged_after_unpacking(gateway, coding):
    """White space stays nothing, however small it is packed."""
    answer = await post(gateway, BATCH, file(PACK[coding](b" \n" * 1000), "a" + ENDING[coding]))

    assert answer.status == 400
    assert answer.json["error"]["message"] == "Invalid file format for Batch API. Must be .jsonl"


@each_coding
@pytest.mark.parametrize("order", ["purpose first", "file first"])
async def test_the_encoding_is_judged_after_unpacking(gateway, coding, order):
    """UTF-16 stays what it is, however it is packed; nothing of it is kept."""
    packed = file(PACK[coding](LINE.decode().encode("utf-16-le")), "a" + ENDING[coding])

    answer = await post(
        gateway, *((BATCH, packed) if order == "purpose first" else (packed, BATCH))
    )

    assert answer.status == 400
    assert "It is UTF-16LE, but must be UTF-8." in answer.json["error"]["message"]
    assert gateway.stored() == []


@pytest.mark.parametrize("coding", ["br", "deflate", "compress", "gzip, gzip"])
@pytest.mark.parametrize("where", ["request", "part", "json"])
async def test_unknown_codings_are_a_415(gateway, coding, where):
    """The answer names those that are taken, in words and in a header (RFC 9110 §12.5.3)."""
    if where == "part":
        answer = await post(gateway, BATCH, file(LINE, coding=coding))
    elif where == "request":
        answer = await post(gateway, BATCH, file(LINE), Content_Encoding=coding)
    else:
        answer = await gateway.call(
            "POST", "/v1/batches", data=b"{}", headers={"Content-Encoding": coding}
        )

    assert answer.status == 415
    assert answer.headers["Accept-Encoding"] == "gzip, zstd"
    assert f"'{coding}'" in answer.json["error"]["message"]
    assert "'gzip' and 'zstd'" in answer.json["error"]["message"]
    assert gateway.stored() == []


@each_coding
async def test_json_bodies_may_be_compressed(gateway, coding):
    """A create body is read the same, packed or not."""
    uploaded = await gateway.upload()
    body = {
        "input_file_id": uploaded.id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }

    answer = await gateway.call(
        "POST",
        "/v1/batches",
        data=PACK[coding](json.dumps(body).encode()),
        headers={"Content-Encoding": coding, "Content-Type": "application/json"},
    )

    assert answer.status == 200, answer.json
    assert answer.json["input_file_id"] == uploaded.id


@each_coding
async def test_a_json_bomb_is_a_413(gateway, coding):
    """What a small body unpacks to is bounded like a large one."""
    answer = await gateway.call(
        "POST",
        "/v1/batches",
        data=PACK[coding](b" " * 50_000_000),
        headers={"Content-Encoding": coding},
    )

    assert answer.status == 413
    assert answer.json["error"]["type"] == "invalid_request_error"


@each_coding
async def test_a_broken_json_body_says_so(gateway, coding):
    """The fault is in the compression, and the answer says that."""
    answer = await gateway.call(
        "POST", "/v1/batches", data=b"junk", headers={"Content-Encoding": coding}
    )

    assert answer.status == 400
    assert "data of the request's body is" in answer.json["error"]["message"]


async def test_base64_parts_are_refused(gateway):
    """Stored as they are they would be garbage; RFC 7578 deprecates the header."""
    answer = await post(
        gateway, BATCH, file(b"e30K", extra=b"Content-Transfer-Encoding: base64\r\n")
    )

    assert answer.status == 400
    assert "Content-Transfer-Encoding 'base64'" in answer.json["error"]["message"]
