"""The rules of `/v1/files` as clients see them."""

from __future__ import annotations

import asyncio
import io
from contextlib import ExitStack

import aiohttp
import openai
import pytest
from waiting import until

FILE_FIELDS = {
    "id",
    "object",
    "bytes",
    "created_at",
    "expires_at",
    "filename",
    "purpose",
    "status",
    "status_details",
}
LINE = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}\n'


def form(*parts):
    """Build a form of (name, value, filename or None) parts in the order given."""
    made = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for name, value, filename in parts:
        if filename is None:
            made.add_field(name, value)
        else:
            made.add_field(name, value, filename=filename, content_type="application/jsonl")
    return made


@pytest.mark.spec(
    "2.1-every-field",
    "2.1-object",
    "2.1-bytes",
    "2.1-expires-default",
    "2.1-status-processed",
    "2.1-status-details-null",
    "2.2-answer",
)
async def test_a_file_has_every_field(gateway):
    """The File object carries all of OpenAI's fields, null where they do not apply."""
    answer = await gateway.call(
        "POST",
        "/v1/files",
        data=form(("purpose", "batch", None), ("file", LINE, "lines.jsonl")),
    )

    assert answer.status == 200
    assert answer.json == {
        "id": answer.json["id"],
        "object": "file",
        "bytes": len(LINE),
        "created_at": int(gateway.clock()),
        "expires_at": int(gateway.clock()) + 2_592_000,
        "filename": "lines.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }
    assert set(answer.json) == FILE_FIELDS
    assert answer.json["id"].startswith("file-")
    assert len(answer.json["id"]) == 27


@pytest.mark.spec("2.2-parts-any-order")
async def test_the_file_part_may_come_before_the_purpose(gateway):
    """Parts come in any order."""
    answer = await gateway.call(
        "POST", "/v1/files", data=form(("file", LINE, "a.jsonl"), ("purpose", "batch", None))
    )

    assert answer.status == 200
    assert answer.json["bytes"] == len(LINE)


SHAPES = {
    "Path": lambda path: path,
    "open file": lambda path: path.open("rb"),
    "name and bytes": lambda path: (path.name, LINE),
    "name and stream": lambda path: (path.name, io.BytesIO(LINE)),
    "name, bytes and type": lambda path: (path.name, LINE, "application/jsonl"),
    "name, bytes, type and headers": lambda path: (path.name, LINE, "text/plain", {"X-A": "b"}),
    "no type": lambda path: (path.name, LINE, None),
}


@pytest.mark.spec("2.2-any-filename", "2.2-part-type-ignored")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
async def test_the_stock_client_uploads_every_shape_of_file(gateway, tmp_path, shape):
    """Whatever `files.create` takes arrives whole, under its own name."""
    path = tmp_path / "my lines.jsonl"
    path.write_bytes(LINE)

    with ExitStack() as stack:
        handed = shape(path)
        if hasattr(handed, "close"):
            stack.callback(handed.close)
        file = await gateway.client.files.create(file=handed, purpose="batch")

    assert (file.filename, file.bytes) == ("my lines.jsonl", len(LINE))
    assert (await gateway.client.files.content(file.id)).content == LINE


@pytest.mark.spec("2.2-nameless-upload", "2.1-status-processed", "2.5-batch-allowed")
@pytest.mark.parametrize("content", [LINE, io.BytesIO(LINE)], ids=["bytes", "BytesIO"])
async def test_nameless_uploads_are_accepted(gateway, content):
    """The SDK sends bytes and BytesIO under the name `upload`, without an extension."""
    file = await gateway.client.files.create(file=content, purpose="batch")

    assert file.filename == "upload"
    assert file.status == "processed"
    assert (await gateway.client.files.content(file.id)).content == LINE


@pytest.mark.spec(
    "2.1-filename",
    "2.2-any-filename",
    "2.2-txt-refused",
    "2.2-utf8-filename",
    "2.2-filename-directories",
)
@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("notes.txt", "notes.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\dir\\lines.jsonl", "lines.jsonl"),
        ("..", "upload"),
        ("", "upload"),
        ("čtení řádků.jsonl", "čtení řádků.jsonl"),
        ("a;b;c.jsonl", "a;b;c.jsonl"),
        ('say \\"hi\\".jsonl', 'say "hi".jsonl'),
        ("tab\there\x00.jsonl", "tabhere.jsonl"),
        ("名前.jsonl", "名前.jsonl"),
    ],
)
async def test_filenames_keep_their_last_component(gateway, sent, kept):
    """Any name is accepted; folders and control characters are stripped."""
    body = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="'
        + sent.encode()
        + b'"\r\n\r\n'
        + LINE
        + b"\r\n--b--\r\n"
    )
    if "\x00" in sent:
        body = body.replace(b"\x00", b"")  # aiohttp's parser refuses NUL itself

    answer = await gateway.call(
        "POST", "/v1/files", data=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )

    assert answer.status == 200, answer.json
    assert answer.json["filename"] == kept


@pytest.mark.spec("2.2-input-purposes", "2.1-expires-null")
@pytest.mark.parametrize(
    "purpose", ["fine-tune", "assistants", "batch", "user_data", "vision", "evals"]
)
async def test_input_purposes_are_accepted(gateway, purpose):
    """All input purposes are stored; only batch files expire by themselves."""
    file = await gateway.upload(purpose=purpose)

    assert file.purpose == purpose
    assert (file.expires_at is not None) == (purpose == "batch")


@pytest.mark.spec("2.2-expires-after", "7-file-expiry")
async def test_expires_after_is_honoured(gateway):
    """The client's expiry wins over the default, and from its second on the file is gone everywhere."""
    file = await gateway.upload(expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at == file.created_at + 3600

    gateway.clock.advance(3599)
    assert (await gateway.call("GET", f"/v1/files/{file.id}/content")).body == LINE
    gateway.clock.advance(1)

    for method, path in [("GET", ""), ("GET", "/content"), ("HEAD", "/content"), ("DELETE", "")]:
        assert (await gateway.call(method, f"/v1/files/{file.id}{path}")).status == 404
    assert (await gateway.client.files.list()).data == []
    with pytest.raises(openai.BadRequestError, match="or it has expired"):
        await gateway.create_batch(input_file_id=file.id)


async def test_files_are_kept_where_the_setting_says_so(starts):
    """`file_ttl_s` 0 keeps batch files."""
    gateway = await starts(file_ttl_s=0)

    assert (await gateway.upload()).expires_at is None


BLANK = "Invalid file format for Batch API. Must be .jsonl"
UTF_16 = (
    f"{BLANK}. It is UTF-16LE, but must be UTF-8. Convert it: iconv -f UTF-16LE -t UTF-8 OLD > NEW"
)
PURPOSE = ("purpose", "batch", None)
UPLOAD_FAULTS = {
    "no file": (
        [PURPOSE],
        "file",
        "missing_required_parameter",
        "Missing required parameter: 'file'.",
    ),
    "no purpose": (
        [("file", LINE, "a")],
        "purpose",
        "missing_required_parameter",
        "Missing required parameter: 'purpose'.",
    ),
    "file without filename": (
        [PURPOSE, ("file", "text", None)],
        "file",
        "invalid_type",
        "filename",
    ),
    "two files": ([PURPOSE, ("file", LINE, "a"), ("file", LINE, "b")], "file", None, "several"),
    "output purpose": (
        [("purpose", "batch_output", None), ("file", LINE, "a")],
        "purpose",
        None,
        (
            "'batch_output' is not one of ['fine-tune', 'assistants', 'batch', 'user_data', 'vision', "
            "'evals'] - 'purpose'"
        ),
    ),
    "empty": ([PURPOSE, ("file", b"", "a")], None, None, BLANK),
    "blank": ([("file", b" \r\n\t\n" * 99, "a"), PURPOSE], None, None, BLANK),
    "UTF-16": ([PURPOSE, ("file", LINE.decode().encode("utf-16"), "a")], None, None, UTF_16),
    "UTF-16 without a mark": (
        [("file", LINE.decode().encode("utf-16-le"), "a"), PURPOSE],
        None,
        None,
        UTF_16,
    ),
    "UTF-32": (
        [PURPOSE, ("file", LINE.decode().encode("utf-32-be"), "a")],
        None,
        None,
        f"{BLANK}. It is UTF-32BE, but must be UTF-8. Convert it: iconv -f UTF-32BE -t UTF-8 ",
    ),
    "only a BOM": ([PURPOSE, ("file", b"\xef\xbb\xbf\n", "a")], None, None, BLANK),
    "expiry without anchor": (
        [PURPOSE, ("expires_after[seconds]", "3600", None), ("file", LINE, "a")],
        "expires_after[anchor]",
        "missing_required_parameter",
        "expires_after[anchor]",
    ),
    "expiry without seconds": (
        [PURPOSE, ("expires_after[anchor]", "created_at", None), ("file", LINE, "a")],
        "expires_after[seconds]",
        "missing_required_parameter",
        "expires_after[seconds]",
    ),
    "wrong anchor": (
        [
            PURPOSE,
            ("expires_after[anchor]", "now", None),
            ("expires_after[seconds]", "3600", None),
            ("file", LINE, "a"),
        ],
        "expires_after[anchor]",
        "invalid_value",
        "Invalid value: 'now'. Supported values are: 'created_at'.",
    ),
    "expiry too short": (
        [
            PURPOSE,
            ("expires_after[anchor]", "created_at", None),
            ("expires_after[seconds]", "3599", None),
            ("file", LINE, "a"),
        ],
        "expires_after[seconds]",
        "integer_below_min_value",
        "Expected a value >= 3600, but got 3599 instead.",
    ),
    "expiry no number": (
        [
            PURPOSE,
            ("expires_after[anchor]", "created_at", None),
            ("expires_after[seconds]", "soon", None),
            ("file", LINE, "a"),
        ],
        "expires_after[seconds]",
        "invalid_type",
        "expected an integer, but got a string instead.",
    ),
    "endless purpose": (
        [("purpose", "x" * 5000, None), ("file", LINE, "a")],
        None,
        None,
        "too long",
    ),
}


@pytest.mark.spec(
    "2.2-output-purpose-refused",
    "2.2-purpose-error",
    "2.2-expires-after-anchor",
    "2.2-blank-refused",
    "2.2-not-utf8",
    "2.2-missing-file",
    "2.2-missing-purpose",
)
@pytest.mark.parametrize("case", UPLOAD_FAULTS.values(), ids=UPLOAD_FAULTS.keys())
async def test_a_refused_upload_says_why_and_leaves_nothing(gateway, case):
    """Bad forms are 400 with OpenAI's error object; neither row nor bytes stay."""
    parts, param, code, message = case

    answer = await gateway.call("POST", "/v1/files", data=form(*parts))

    assert answer.status == 400
    error = answer.json["error"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert message in error["message"]
    assert gateway.stored() == []
    assert (await gateway.client.files.list()).data == []


BROKEN_FORMS = {
    "json": (b"{}", "application/json"),
    "no content type": (b"x", ""),
    "urlencoded": (b"purpose=batch", "application/x-www-form-urlencoded"),
    "no boundary": (b"x", "multipart/form-data"),
    "endless boundary": (b"x", "multipart/form-data; boundary=" + "b" * 80),
    "empty body": (b"", "multipart/form-data; boundary=b"),
    "no parts": (b"--b--\r\n", "multipart/form-data; boundary=b"),
    "wrong boundary": (b"--c\r\n\r\n", "multipart/form-data; boundary=b"),
    "cut in the file": (
        (
            b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n{}'
        ),
        "multipart/form-data; boundary=b",
    ),
    "cut in the headers": (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b\r\nContent-Dis',
        "multipart/form-data; boundary=b",
    ),
    "cut before the closing boundary": (
        (
            b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n{}\r\n--b\r\n'
        ),
        "multipart/form-data; boundary=b",
    ),
    "nested": (
        (
            b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n"
            b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n--c--\r\n\r\n--b--\r\n'
        ),
        "multipart/form-data; boundary=b",
    ),
    "purpose not UTF-8": (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n\xff\xfe\r\n--b--\r\n',
        "multipart/form-data; boundary=b",
    ),
}


@pytest.mark.spec("2.2-not-multipart", "2.2-truncated")
@pytest.mark.parametrize("case", BROKEN_FORMS.values(), ids=BROKEN_FORMS.keys())
async def test_a_broken_form_is_a_400(gateway, case):
    """What is not a whole multipart form is refused and leaves nothing."""
    body, content_type = case

    answer = await gateway.call(
        "POST", "/v1/files", data=body, headers={"Content-Type": content_type}
    )

    assert answer.status == 400
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert gateway.stored() == []


@pytest.mark.spec("2.2-too-large")
@pytest.mark.parametrize("over", [1, 200_000], ids=["while streaming", "by content-length"])
async def test_a_file_over_the_limit_is_refused(starts, over):
    """The limit is enforced on the bytes of the file, and nothing stays of it."""
    gateway = await starts(max_file_bytes=1_000_000)

    with pytest.raises(openai.BadRequestError, match="File is too large") as caught:
        await gateway.upload(b"x" * (1_000_000 + over))

    assert (caught.value.param, caught.value.code) == (None, None)
    assert gateway.stored() == []


async def test_a_file_of_exactly_the_limit_is_accepted(starts):
    """The limit itself is allowed."""
    gateway = await starts(max_file_bytes=1_000_000)

    assert (await gateway.upload(b"x" * 1_000_000)).bytes == 1_000_000


async def test_the_extended_name_wins(gateway):
    """`filename*` is what some clients send for names outside ASCII."""
    body = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="_.jsonl"; '
        b"filename*=utf-8''%C3%A9%2F%E5.jsonl\r\n\r\n" + LINE + b"\r\n--b--\r\n"
    )

    answer = await gateway.call(
        "POST", "/v1/files", data=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    )

    assert answer.json["filename"] == "\ufffd.jsonl"


async def test_unknown_parts_are_ignored(gateway):
    """Extra fields and extra files do no harm."""
    answer = await gateway.call(
        "POST",
        "/v1/files",
        data=form(("note", "x", None), ("other", b"y" * 99, "y"), PURPOSE, ("file", LINE, "a")),
    )

    assert answer.status == 200
    assert answer.json["bytes"] == len(LINE)


@pytest.mark.spec("2.2-truncated")
async def test_a_client_that_goes_away_leaves_nothing(gateway):
    """An upload cut by the client stores neither row nor bytes, and the gateway goes on."""
    host, port = gateway.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        + b"x"
        * 3_000_000
    )
    await writer.drain()
    await until(gateway.stored)

    writer.transport.abort()

    await until(lambda: not gateway.stored())
    assert (await gateway.client.files.list()).data == []


@pytest.mark.spec("2.4-show")
async def test_retrieve_returns_what_create_did(gateway):
    """GET shows the same object."""
    file = await gateway.upload()

    assert await gateway.client.files.retrieve(file.id) == file


@pytest.mark.spec("2.4-delete", "2.4-unknown", "2.4-deleted-is-gone")
async def test_deleted_files_are_gone(gateway):
    """DELETE answers the tombstone; then the file is nowhere."""
    file = await gateway.upload()

    gone = await gateway.call("DELETE", f"/v1/files/{file.id}")

    assert (gone.status, gone.json) == (200, {"id": file.id, "object": "file", "deleted": True})
    assert (await gateway.client.files.list()).data == []
    for method, path in [("GET", ""), ("GET", "/content"), ("DELETE", "")]:
        answer = await gateway.call(method, f"/v1/files/{file.id}{path}")
        assert answer.status == 404
        assert answer.json["error"] == {
            "message": f"No such File object: {file.id}",
            "type": "invalid_request_error",
            "param": "id",
            "code": None,
        }


@pytest.mark.parametrize("name", ["file-x", "%ff", "%00", "..%2f..", "%22", "x" * 2000, "é"])
async def test_odd_ids_are_not_found(gateway, name):
    """Whatever stands in the path, an unknown id is a 404."""
    assert (await gateway.call("GET", f"/v1/files/{name}")).status == 404


@pytest.mark.spec("2.3-default-order", "2.3-order", "2.3-after", "4-each-once")
async def test_the_stock_client_walks_all_files_once(gateway):
    """Auto-pagination sees each file once, newest first, though all share a second."""
    made = [(await gateway.upload()).id for _ in range(7)]

    walked = [file.id async for file in gateway.client.files.list(limit=3)]
    upwards = [file.id async for file in gateway.client.files.list(limit=2, order="asc")]

    assert walked == made[::-1]
    assert upwards == made


async def test_a_walk_may_delete_what_it_sees(gateway):
    """Clearing up is the commonest walk: the next page begins behind a file that is gone."""
    made = [(await gateway.upload()).id for _ in range(7)]

    async for file in gateway.client.files.list(limit=2):
        await gateway.client.files.delete(file.id)
        made.remove(file.id)

    assert made == []
    assert (await gateway.client.files.list()).data == []


async def test_a_walk_goes_on_behind_a_file_that_expired(gateway):
    """The sweep may take the cursor too."""
    kept = await gateway.upload(purpose="evals")
    cursor = await gateway.upload()
    gateway.clock.advance(2_592_000)
    await gateway.store.expire_files(now=int(gateway.clock()), limit=9)

    page = (await gateway.call("GET", f"/v1/files?after={cursor.id}")).json

    assert [file["id"] for file in page["data"]] == [kept.id]


@pytest.mark.spec(
    "2.3-limit",
    "2.3-after",
    "4-list-fields",
    "4-first-last",
    "4-after-last",
    "4-unknown-parameters",
)
async def test_a_page_has_every_field(gateway):
    """A list names its first and last id, and says whether more follows."""
    made = [(await gateway.upload()).id for _ in range(3)]

    first = (await gateway.call("GET", "/v1/files?limit=2&whatever=1")).json
    last = (await gateway.call("GET", f"/v1/files?limit=2&after={made[1]}")).json
    beyond = (await gateway.call("GET", f"/v1/files?after={made[0]}")).json

    assert list(first) == ["object", "data", "first_id", "last_id", "has_more"]
    assert (first["first_id"], first["last_id"], first["has_more"]) == (made[2], made[1], True)
    assert ([f["id"] for f in last["data"]], last["has_more"]) == ([made[0]], False)
    assert beyond == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@pytest.mark.spec("2.3-purpose")
async def test_files_are_listed_by_purpose(gateway):
    """`purpose` filters."""
    await gateway.upload(purpose="user_data")
    wanted = await gateway.upload(purpose="batch")

    listed = await gateway.client.files.list(purpose="batch")

    assert [f.id for f in listed.data] == [wanted.id]


@pytest.mark.spec("2.3-limit-bounds", "2.3-order", "2.3-unknown-after")
@pytest.mark.parametrize(
    ("query", "status", "param", "code", "message"),
    [
        ("limit=0", 400, "limit", "integer_below_min_value", "Expected a value >= 1, but got 0"),
        ("limit=10001", 400, "limit", "integer_above_max_value", "Expected a value <= 10000"),
        ("limit=abc", 400, "limit", "invalid_type", "expected an integer, but got a string"),
        ("limit=", 400, "limit", "invalid_type", "expected an integer"),
        ("limit=1.5", 400, "limit", "invalid_type", "expected an integer"),
        (f"limit={'9' * 5000}", 400, "limit", "invalid_type", "expected an integer"),
        ("order=up", 400, "order", "invalid_value", "Supported values are: 'asc' and 'desc'."),
        ("after=file-x", 404, "after", None, "No such File object: file-x"),
    ],
)
async def test_bad_list_queries_are_refused(gateway, query, status, param, code, message):
    """Bad queries name the parameter, the rule and what was sent."""
    answer = await gateway.call("GET", f"/v1/files?{query}")

    error = answer.json["error"]
    assert (answer.status, error["param"], error["code"]) == (status, param, code)
    assert message in error["message"]


async def test_a_store_that_refuses_leaves_no_bytes(starts, store, blobs):
    """If the row cannot be written, the bytes go too, and the answer says 503."""
    gateway = await starts()
    await store._database._writer.execute("PRAGMA query_only = 1")

    answer = await gateway.call("POST", "/v1/files", data=form(PURPOSE, ("file", LINE, "a")))

    assert answer.status == 503
    assert answer.json["error"]["type"] == "server_error"
    assert answer.headers["Retry-After"] == "2"
    assert gateway.stored() == []
