"""Too little room on the disk: refused before the bytes come, while they come, and when they do not fit."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import aiohttp
import openai
import pytest
from prometheus_page import total

LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}\n'
GB = 1_000_000_000
MIN_FREE = 5 * GB
BOUNDARY = {"Content-Type": "multipart/form-data; boundary=b"}
HEAD = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
)


class Disk:
    """The real blobs on a disk whose free space is told; it may shrink with each look."""

    def __init__(self, blobs, *, free, step=0):
        self._blobs = blobs
        self.free = free
        self.step = step

    def __getattr__(self, name):
        return getattr(self._blobs, name)

    def free_bytes(self):
        self.free -= self.step
        return self.free


@pytest.fixture
def disk(blobs):
    return Disk(blobs, free=MIN_FREE + GB)


@pytest.fixture
async def gateway(starts, disk):
    """A gateway that wants 5 GB to stay free, on a disk with 6 GB."""
    return await starts(with_blobs=disk, min_free_bytes=MIN_FREE)


def form(content=LINE, *, name="file", **fields):
    made = aiohttp.FormData(default_to_multipart=True)
    for key, value in fields.items():
        made.add_field(key, value)
    made.add_field(name, content, filename="a")
    return made


async def upload(gateway, content=LINE):
    return await gateway.call("POST", "/v1/files", data=form(content, purpose="batch"))


def assert_full(answer, *words):
    error = answer.json["error"]
    assert answer.status == 507, answer.json
    assert (error["type"], error["param"], error["code"]) == (
        "server_error",
        None,
        "insufficient_storage",
    )
    assert answer.headers["x-should-retry"] == "false"
    for word in words:
        assert word in error["message"]


@pytest.mark.spec("beyond-disk-full")
async def test_below_the_mark_a_file_is_refused_and_told_why(gateway, disk):
    """How much is free, how much must stay, what to do."""
    disk.free = MIN_FREE + 10

    answer = await upload(gateway)

    assert_full(answer, "5.0 GB are free", "5.0 GB must stay free", "Delete files", "BATCHLINE_")
    assert gateway.stored() == []


@pytest.mark.spec("beyond-disk-full")
async def test_what_does_not_fit_above_the_mark_is_refused_before_it_is_sent(gateway, disk):
    """The announced length counts: 5.1 GB are free, 0.2 are asked for, 5 must stay."""
    disk.free = MIN_FREE + GB // 10
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\nExpect: 100-continue\r\n\r\n"
    )

    status = await asyncio.wait_for(reader.readline(), 60)

    writer.close()
    assert b" 507 " in status


async def test_a_client_that_waits_to_be_asked_is_asked_where_there_is_room(gateway):
    """`Expect: 100-continue` is answered once the headers have passed."""
    body = HEAD + LINE + b"\r\n--b--\r\n"
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(body)
        + b"Content-Type: multipart/form-data; boundary=b\r\nExpect: 100-Continue\r\n\r\n"
    )

    first = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    writer.write(body)
    second = await asyncio.wait_for(reader.readline(), 60)

    writer.close()
    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert b" 200 " in second


async def test_other_expectations_are_ignored(gateway):
    """A server may refuse them, but then in the framework's own words."""
    posted = await gateway.call(
        "POST", "/v1/files", data=form(purpose="batch"), headers={"Expect": "the-moon"}
    )
    listed = await gateway.call("GET", "/v1/files", headers={"Expect": "the-moon"})

    assert (posted.status, listed.status) == (200, 200)


@pytest.mark.spec("beyond-disk-full")
async def test_the_room_is_looked_at_again_while_bytes_come(gateway, disk):
    """Others write too: what began well is broken off, and nothing of it stays."""
    disk.step = GB // 2

    async def endless():
        yield HEAD
        for _ in range(100):
            yield bytes(1 << 20)

    answer = await gateway.call("POST", "/v1/files", data=endless(), headers=BOUNDARY)

    assert_full(answer)
    assert gateway.stored() == []


@pytest.mark.spec("beyond-disk-full")
async def test_uploads_in_parts_need_room_at_every_step(gateway, disk):
    """Create, part and complete are refused, and go on where they stopped when there is room."""
    create = {"filename": "a", "purpose": "batch", "bytes": len(LINE), "mime_type": "text/plain"}
    upload_id = (await gateway.call("POST", "/v1/uploads", json=create)).json["id"]
    parts = f"/v1/uploads/{upload_id}/parts"
    part_id = (await gateway.call("POST", parts, data=form(name="data"))).json["id"]
    completion = (f"/v1/uploads/{upload_id}/complete", {"part_ids": [part_id]})
    disk.free = MIN_FREE

    assert_full(await gateway.call("POST", "/v1/uploads", json=create))
    assert_full(await gateway.call("POST", parts, data=form(name="data")))
    assert_full(await gateway.call("POST", completion[0], json=completion[1]))

    disk.free = MIN_FREE + GB
    assert (await gateway.call("POST", completion[0], json=completion[1])).status == 200


async def test_what_makes_room_works_on_a_full_disk(gateway, disk):
    """Reading, listing, deleting and cancelling write no bytes worth speaking of."""
    file = (await upload(gateway)).json
    batch = await gateway.create_batch(input_file_id=file["id"])
    disk.free = 0

    assert (await gateway.call("GET", f"/v1/files/{file['id']}/content")).body == LINE
    assert (await gateway.call("GET", "/v1/files")).status == 200
    assert (await gateway.client.batches.cancel(batch.id)).status == "cancelling"
    assert (await gateway.call("DELETE", f"/v1/files/{file['id']}")).status == 200


async def test_the_mark_can_be_turned_off(starts, disk):
    """`min_free_bytes` 0: the disk itself decides."""
    gateway = await starts(with_blobs=disk, min_free_bytes=0)
    disk.free = 0

    assert (await upload(gateway)).status == 200


@pytest.mark.parametrize("size", [len(LINE), 5_000_000], ids=["at the end", "half way"])
async def test_a_disk_that_is_full_all_the_same_is_a_507(starts, blobs, monkeypatch, size):
    """The kernel's own refusal (ENOSPC) is answered the same way, and nothing stays."""
    really_open = Path.open

    def open_full(path, mode="r", *given, **options):
        if "x" in mode:  # what is written to the new file goes where the kernel never has room
            path.touch()
            path, mode = Path("/dev/full"), "wb"
        return really_open(path, mode, *given, **options)

    monkeypatch.setattr(Path, "open", open_full)
    gateway = await starts()

    answer = await upload(gateway, b"x" * size)

    assert_full(answer, "is full", "Delete files")
    assert gateway.stored() == []


async def test_a_database_that_cannot_grow_is_a_507_and_leaves_no_bytes(starts, store):
    """The row did not fit: the bytes go again."""
    gateway = await starts()
    writer = store._database._writer
    await writer.execute("VACUUM")  # a migration leaves pages at hand
    await writer.execute("PRAGMA max_page_count = 1")
    big = "n" * 7000 + ".jsonl"  # more than the pages of its own hold

    answer = await gateway.call(
        "POST",
        "/v1/files",
        data=HEAD.replace(b'"a"', f'"{big}"'.encode()) + LINE + b"\r\n--b--\r\n",
        headers=BOUNDARY,
    )

    assert_full(answer, "database", "disk is full")
    assert gateway.stored() == []


@pytest.mark.spec("beyond-disk-full")
async def test_the_stock_client_asks_only_once(gateway, disk):
    """A 5xx would be repeated by the SDK, with all the bytes; `x-should-retry` says no."""
    disk.free = 0
    client = gateway.client.with_options(max_retries=2)

    with pytest.raises(openai.InternalServerError, match="too little disk space") as caught:
        await client.files.create(file=io.BytesIO(LINE), purpose="batch")

    assert (caught.value.status_code, caught.value.code) == (507, "insufficient_storage")
    text = (await gateway.call("GET", "/metrics")).body.decode()
    assert total(text, "batchline_http_requests_total", code="507") == 1
