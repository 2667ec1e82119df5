"""The contract, sections 2 and 7: files as clients upload, list, download and delete them."""

from __future__ import annotations

import aiohttp
import openai
import pytest
from inputs import requests
from scripted import HANG
from waiting import until

from batchline.settings import Settings
from gateway.paging import FILES, page_query

LINE = requests(1)


def form(*parts):
    """Build a form of (name, value, filename or None, content type or None) parts."""
    body = b""
    for name, value, filename, content_type in parts:
        body += b'--b\r\nContent-Disposition: form-data; name="' + name.encode() + b'"'
        if filename is not None:
            body += b"; " + filename
        if content_type is not None:
            body += b"\r\nContent-Type: " + content_type.encode()
        body += b"\r\n\r\n" + value + b"\r\n"
    return body + b"--b--\r\n"


async def send(api, *parts):
    return await api.call(
        "POST",
        "/v1/files",
        data=form(*parts),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )


PURPOSE = ("purpose", b"batch", None, None)


@pytest.mark.spec("2.2-part-type-ignored")
@pytest.mark.parametrize(
    "content_type",
    ["application/octet-stream", "application/jsonl", "application/json", "text/plain", "x", None],
)
async def test_the_parts_content_type_changes_nothing(api, content_type):
    """Whatever it says, the bytes are stored as they came."""
    answer = await send(api, PURPOSE, ("file", LINE, b'filename="a.jsonl"', content_type))

    assert answer.status == 200
    assert await api.raw(answer.json["id"]) == LINE


@pytest.mark.spec("2.1-bytes")
@pytest.mark.parametrize("content", [b"{}", "ž\r\n\r\n--b".encode(), bytes(range(256)) * 4097])
async def test_bytes_is_the_exact_size(api, content):
    """Counted in bytes, line ends and near-boundaries included."""
    file = await api.upload(content)

    assert file.bytes == len(content)
    assert await api.raw(file.id) == content


@pytest.mark.spec("2.2-expires-after-bounds")
@pytest.mark.parametrize(
    ("seconds", "status"),
    [
        ("3600", 200),
        ("2592000", 200),
        ("3599", 400),
        ("2592001", 400),
        ("-1", 400),
        ("3600.5", 400),
        ("1e5", 400),
        ("", 400),
    ],
)
async def test_expiry_has_bounds(api, seconds, status):
    """An hour to thirty days, in whole seconds, both ends allowed."""
    answer = await send(
        api,
        PURPOSE,
        ("expires_after[anchor]", b"created_at", None, None),
        ("expires_after[seconds]", seconds.encode(), None, None),
        ("file", LINE, b'filename="a"', None),
    )

    assert answer.status == status
    if status == 200:
        assert answer.json["expires_at"] == answer.json["created_at"] + int(seconds)
    else:
        assert answer.json["error"]["param"] == "expires_after[seconds]"


@pytest.mark.spec("2.2-filename-controls")
@pytest.mark.parametrize(
    "sent", [b"filename*=utf-8''a%0D%0Ab%00c.jsonl", b'filename="a\tb\tc.jsonl"']
)
async def test_control_characters_leave_the_filename(api, sent):
    """What could break a header or a terminal is dropped."""
    answer = await send(api, PURPOSE, ("file", LINE, sent, None))

    assert answer.json["filename"] == "abc.jsonl"


@pytest.mark.spec("2.2-filename-no-path")
@pytest.mark.parametrize("name", ["../../escape.jsonl", "/tmp/escape.jsonl", "..\\escape.jsonl"])
async def test_the_filename_is_no_path(api, tmp_path, name):
    """No path on the disk has anything of it."""
    file = await api.upload(LINE, name=name)

    assert file.filename == "escape.jsonl"
    assert [p for p in tmp_path.parent.rglob("*") if p.name == "escape.jsonl"] == []
    assert await api.raw(file.id) == LINE


@pytest.mark.spec("2.2-size-limit", "2.2-batch-size-limit")
async def test_one_size_limit_holds_for_every_file(open_api):
    """512 MB by default; the setting is exact, for batch inputs as for others."""
    assert Settings(_env_file=None).max_file_bytes == 512 << 20
    async with open_api(max_file_bytes=1000) as api:
        for purpose in ("batch", "user_data"):
            assert (await api.upload(b"x" * 1000, purpose=purpose)).bytes == 1000
            with pytest.raises(openai.BadRequestError, match="File is too large"):
                await api.upload(b"x" * 1001, purpose=purpose)


@pytest.mark.spec("8-total-size")
def test_an_upload_in_parts_may_have_eight_gigabytes():
    """By default; the setting itself is enforced part by part."""
    assert Settings(_env_file=None).max_upload_bytes == 8 << 30


@pytest.mark.spec("2.2-lines-unread")
@pytest.mark.parametrize("content", [b"nonsense\n", LINE + b"{broken\n", b"\xff\xfa\x00"])
async def test_lines_are_not_read_at_upload(api, content):
    """What is wrong with them is the batch's to say."""
    file = await api.upload(content)

    assert file.status == "processed"
    assert await api.raw(file.id) == content


@pytest.mark.spec("2.2-missing-file", "2.2-missing-purpose", "2.2-output-purpose-refused")
@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([PURPOSE], "file"),
        ([("file", LINE, b'filename="a"', None)], "purpose"),
        (
            [("purpose", b"batch_output", None, None), ("file", LINE, b'filename="a"', None)],
            "purpose",
        ),
        ([("purpose", b"", None, None), ("file", LINE, b'filename="a"', None)], "purpose"),
    ],
    ids=["no file", "no purpose", "output purpose", "empty purpose"],
)
async def test_an_incomplete_form_names_what_is_missing(api, parts, param):
    """400, the part's name, and nothing stored."""
    answer = await send(api, *parts)

    assert answer.status == 400
    assert answer.json["error"]["param"] == param
    assert (await api.client.files.list()).data == []


@pytest.mark.spec("2.3-limit-default")
def test_a_page_of_files_holds_ten_thousand():
    """Without `limit`, and no more with it."""
    assert page_query({}, FILES).limit == 10_000
    assert page_query({"limit": "10000"}, FILES).limit == 10_000


@pytest.mark.spec("2.3-after", "2.3-order", "4-has-more-boolean", "4-after-last")
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_files_are_walked_in_either_order(api, order):
    """`after` continues exactly; `has_more` is true or false and nothing else."""
    made = [(await api.upload(purpose="batch")).id for _ in range(5)]
    walked, after, more = [], "", True

    while more:
        page = (await api.call("GET", f"/v1/files?limit=2&order={order}{after}")).json
        walked += [file["id"] for file in page["data"]]
        more, after = page["has_more"], f"&after={page['last_id']}"
        assert more is True or more is False
        assert page["data"]
    beyond = (await api.call("GET", f"/v1/files?order={order}{after}")).json

    assert walked == (made if order == "asc" else made[::-1])
    assert (beyond["data"], beyond["has_more"]) == ([], False)
    assert beyond["has_more"] is False


@pytest.mark.spec("2.4-deleted-is-gone")
async def test_a_deleted_file_starts_no_batch(api):
    """Gone is gone for create too."""
    file = await api.upload()
    await api.client.files.delete(file.id)

    with pytest.raises(openai.BadRequestError, match="Cannot find file"):
        await api.client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )


@pytest.mark.spec("2.4-delete-in-use")
async def test_a_running_batch_keeps_its_input(api, tmp_path):
    """Deleted in the middle, and housekeeping came by: every line is still read and answered."""
    api.upstream.script = lambda *_: HANG
    batch, unused = await api.create(requests(300)), await api.store(requests(1))
    async with api.dispatching(max_in_flight=4):
        await api.upstream.arrived.wait()
        for file_id in (batch["input_file_id"], unused):
            assert (await api.call("DELETE", f"/v1/files/{file_id}")).status == 200

        async def swept():
            return unused not in {path.name for path in (tmp_path / "blobs").rglob("*")}

        await until(swept)
        api.upstream.release.set()
        ended = await api.ended(batch)

    assert ended["status"] == "completed"
    assert ended["request_counts"] == {"total": 300, "completed": 300, "failed": 0}


@pytest.mark.spec("2.4-delete-while-validating")
async def test_a_validating_batch_keeps_its_input(api):
    """Deleted before anyone read it: the batch runs all the same."""
    batch = await api.create(requests(3))
    await api.client.files.delete(batch["input_file_id"])
    async with api.dispatching():
        ended = await api.ended(batch)

    assert (ended["status"], ended["request_counts"]["completed"]) == ("completed", 3)


@pytest.mark.spec("2.4-delete-of-finished")
async def test_all_files_of_a_finished_batch_can_be_deleted(api):
    """Input and output go; the batch goes on naming them."""
    batch = await api.create(requests(2))
    async with api.dispatching():
        ended = await api.ended(batch)

    for name in ("input_file_id", "output_file_id"):
        assert (await api.client.files.delete(ended[name])).deleted
    assert await api.show(batch) == ended


@pytest.mark.spec("2.5-batch-allowed", "2.5-output-allowed", "2.5-content-length")
async def test_inputs_and_results_can_be_downloaded(api):
    """Inputs tell a client which requests it had sent."""
    batch = await api.create(requests(2))
    async with api.dispatching():
        ended = await api.ended(batch)

    for name in ("input_file_id", "output_file_id"):
        answer = await api.call("GET", f"/v1/files/{ended[name]}/content")
        shown = (await api.call("GET", f"/v1/files/{ended[name]}")).json
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) == len(answer.body) == shown["bytes"]
    assert await api.raw(ended["input_file_id"]) == requests(2)


@pytest.mark.spec("2.2-not-multipart")
async def test_a_form_in_another_type_is_refused(api):
    """JSON and URL-encoded bodies say what is wanted instead."""
    for data in ({"json": {"purpose": "batch"}}, {"data": aiohttp.FormData({"purpose": "batch"})}):
        answer = await api.call("POST", "/v1/files", **data)
        assert answer.status == 400
        assert "multipart/form-data" in answer.json["error"]["message"]
