"""Downloads: raw bytes, whole or in part, for inputs and results."""

from __future__ import annotations

import os

import pytest
from aiohttp import web

from batchline.states import OutcomeKind
from gateway.routes.content import disposition
from gateway.transfer.ranges import Span, wanted_span

BIG = os.urandom(3_000_000)


@pytest.mark.spec(
    "2.5-raw-bytes",
    "2.5-octet-stream",
    "2.5-content-length",
    "2.5-offset-ignored",
    "1-accept-ignored",
)
async def test_content_comes_back_byte_for_byte(gateway):
    """The answer is raw bytes with length and name, whatever the client accepts."""
    file = await gateway.upload(BIG, name='a "b"\\c.jsonl')

    answer = await gateway.call(
        "GET", f"/v1/files/{file.id}/content?offset=5", headers={"Accept": "application/binary"}
    )

    assert answer.status == 200
    assert answer.body == BIG
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Length"] == str(len(BIG))
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.spec("2.5-sdk-ways")
async def test_the_stock_client_reads_content_its_ways(gateway, tmp_path):
    """`.text`, `.content`, `.iter_lines()` and streaming to a file all work."""
    file = await gateway.upload(b'{"a":1}\n{"b":2}\n')

    answer = await gateway.client.files.content(file.id)
    assert answer.text == '{"a":1}\n{"b":2}\n'
    assert answer.read() == b'{"a":1}\n{"b":2}\n'
    assert list(answer.iter_lines()) == ['{"a":1}', '{"b":2}']
    async with gateway.client.files.with_streaming_response.content(file.id) as streamed:
        await streamed.stream_to_file(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b'{"a":1}\n{"b":2}\n'


@pytest.mark.spec("2.5-output-allowed")
async def test_result_files_can_be_downloaded(gateway):
    """Files that the dispatcher published come out the same way."""
    batch = await gateway.create_batch()
    await gateway.run(batch.id, OutcomeKind.SUCCEEDED)
    done = await gateway.client.batches.retrieve(batch.id)

    assert (await gateway.client.files.content(done.output_file_id)).text == '{"kind":"output"}\n'
    shown = await gateway.client.files.retrieve(done.output_file_id)
    assert (shown.purpose, shown.filename) == ("batch_output", f"{batch.id}_output.jsonl")


@pytest.mark.spec("2.5-some-refused")
@pytest.mark.parametrize("purpose", ["assistants", "user_data"])
async def test_some_purposes_cannot_be_downloaded(gateway, purpose):
    """OpenAI refuses these downloads."""
    file = await gateway.upload(purpose=purpose)

    answer = await gateway.call("GET", f"/v1/files/{file.id}/content")

    assert answer.status == 400
    assert answer.json["error"]["message"] == (
        f"Not allowed to download files of purpose: {purpose}"
    )


@pytest.mark.spec("2.5-range")
@pytest.mark.parametrize(
    ("header", "status", "body", "content_range"),
    [
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("Bytes = 8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=9-9", 206, b"9", "bytes 9-9/10"),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("bytes=5-2", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("lines=0-1", 200, b"0123456789", None),
        ("nonsense", 200, b"0123456789", None),
    ],
)
async def test_ranges(gateway, header, status, body, content_range):
    """One range is served exactly; what cannot be understood gets the whole file."""
    file = await gateway.upload(b"0123456789")

    answer = await gateway.call("GET", f"/v1/files/{file.id}/content", headers={"Range": header})

    assert (answer.status, answer.body) == (status, body)
    assert answer.headers.get("Content-Range") == content_range
    assert answer.headers["Content-Length"] == str(len(body))


@pytest.mark.spec("2.5-range-unsatisfiable")
@pytest.mark.parametrize("header", ["bytes=10-", "bytes=99-100", "bytes=-0"])
async def test_ranges_beyond_the_end_are_416(gateway, header):
    """A range without a single byte is refused and the size told."""
    file = await gateway.upload(b"0123456789")

    answer = await gateway.call("GET", f"/v1/files/{file.id}/content", headers={"Range": header})

    assert answer.status == 416
    assert answer.headers["Content-Range"] == "bytes */10"
    assert answer.json["error"]["type"] == "invalid_request_error"


async def test_if_range_gets_the_whole(gateway):
    """Without an ETag no If-Range can match."""
    file = await gateway.upload(b"0123456789")

    answer = await gateway.call(
        "GET",
        f"/v1/files/{file.id}/content",
        headers={"Range": "bytes=0-1", "If-Range": '"tag"'},
    )

    assert (answer.status, answer.body) == (200, b"0123456789")


async def test_head_tells_the_length_without_bytes(gateway):
    """HEAD answers like GET without a body."""
    file = await gateway.upload(b"0123456789")

    answer = await gateway.call(
        "HEAD", f"/v1/files/{file.id}/content", headers={"Range": "bytes=0-1"}
    )

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == "10"
    assert (await gateway.call("GET", "/health")).status == 200


async def test_an_empty_file_downloads_as_nothing(gateway):
    """Zero bytes are a valid answer (and only batch inputs must not be empty)."""
    file = await gateway.upload(b"", purpose="evals")

    answer = await gateway.call("GET", f"/v1/files/{file.id}/content")

    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")


async def test_lost_bytes_are_an_error_not_an_empty_answer(gateway):
    """If the blob is gone, the client gets an error object."""
    file = await gateway.upload()
    for path in gateway.stored():
        path.unlink()

    answer = await gateway.call("GET", f"/v1/files/{file.id}/content")

    assert answer.status == 404
    assert "files/" not in answer.json["error"]["message"]


async def test_a_torn_blob_never_passes_for_the_whole(gateway):
    """A blob shorter than its row cuts the connection, so that the client notices."""
    file = await gateway.upload(BIG)
    for path in gateway.stored():
        path.write_bytes(BIG[:2_000_000])

    with pytest.raises(Exception, match=r"(?i)payload|incomplete|peer|connection"):
        await gateway.call("GET", f"/v1/files/{file.id}/content")


@pytest.mark.spec("2.5-disposition")
@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.jsonl", 'attachment; filename="a.jsonl"'),
        ('a"b\\c', 'attachment; filename="a\\"b\\\\c"'),
        ("é.txt", "attachment; filename=\"_.txt\"; filename*=UTF-8''%C3%A9.txt"),
        ("a\r\nX: y", "attachment; filename=\"a__X: y\"; filename*=UTF-8''a%0D%0AX%3A%20y"),
    ],
)
def test_the_name_of_a_download_cannot_break_its_header(name, header):
    """Quotes are escaped; what ASCII cannot say is percent-encoded beside it."""
    assert disposition(name) == header


def test_a_huge_suffix_is_the_whole_file():
    """Numbers far beyond the size are clamped."""
    assert wanted_span("bytes=-999999999999999999", 5) == Span(0, 5)
    with pytest.raises(web.HTTPRequestRangeNotSatisfiable):
        wanted_span("bytes=0-", 0)
