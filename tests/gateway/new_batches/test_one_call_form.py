"""`POST /v1/batches` as a form: upload and create in one call."""

from __future__ import annotations

import gzip
import io
import json

import aiohttp
import pytest
from refusals import check_refused

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
BARE = b'{"custom_id":"a","body":{"messages":[]}}\n{"custom_id":"b","body":{"model":"own"}}\n'


def form(content=BARE, *, name="x.jsonl", file_first=True, **fields):
    """Build a form as `curl -F` does."""
    made = aiohttp.FormData(default_to_multipart=True)
    if file_first and content is not None:
        made.add_field("file", io.BytesIO(content), filename=name)
    for field, text in fields.items():
        made.add_field(field, text)
    if not file_first:
        made.add_field("file", io.BytesIO(content), filename=name)
    return made


async def post(gateway, data, **headers):
    return await gateway.call("POST", "/v1/batches", data=data, headers=headers)


async def text_of(gateway, answer):
    assert answer.status == 200, answer.json
    return (await gateway.client.files.content(answer.json["input_file_id"])).text


async def lines_of(gateway, answer):
    return [json.loads(line) for line in (await text_of(gateway, answer)).splitlines()]


@pytest.mark.spec("beyond-form")
@pytest.mark.parametrize("file_first", [True, False])
async def test_one_call_uploads_and_creates(gateway, file_first):
    """Curl -F file=@x.jsonl -F model=M; the fields may stand before the file or behind it."""
    answer = await post(gateway, form(file_first=file_first, model="m"))

    assert await lines_of(gateway, answer) == [
        {"custom_id": "a", "body": {"model": "m", "messages": []}, "method": "POST", "url": CHAT},
        {"custom_id": "b", "body": {"model": "own"}, "method": "POST", "url": CHAT},
    ]
    assert (answer.json["endpoint"], answer.json["completion_window"]) == (CHAT, "24h")
    file = await gateway.client.files.retrieve(answer.json["input_file_id"])
    assert (file.filename, file.purpose) == ("x.jsonl", "batch")


async def test_every_field_of_a_create_can_be_a_part(gateway):
    """Text as it is, metadata as JSON, the expiry as the upload's form has it."""
    answer = await post(
        gateway,
        form(
            endpoint=EMBEDDINGS,
            completion_window="48h",
            metadata='{"name": "nightly"}',
            on_failures="pause",
            **{
                "output_expires_after[anchor]": "created_at",
                "output_expires_after[seconds]": "3600",
            },
        ),
    )

    batch = answer.json
    assert (batch["endpoint"], batch["completion_window"]) == (EMBEDDINGS, "48h")
    assert (batch["metadata"], batch["on_failures"]) == ({"name": "nightly"}, "pause")
    stored = await gateway.store.get_batch(batch["id"])
    assert stored.output_expires_after_s == 3600


async def test_empty_metadata_are_none(gateway):
    """What a script sends whose variable is empty."""
    answer = await post(gateway, form(metadata=""))

    assert (answer.status, answer.json["metadata"]) == (200, None)


async def test_without_an_endpoint_it_is_the_url_of_the_first_line(gateway):
    """A file of whole lines needs no field at all."""
    whole = (
        b'{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"e","input":"x"}}'
    )

    answer = await post(gateway, form(b"\xef\xbb\xbf\r\n" + whole + b"\r\n\n" + whole))

    assert answer.json["endpoint"] == EMBEDDINGS
    assert (
        await text_of(gateway, answer) == "\ufeff\r\n" + whole.decode() + "\r\n\n" + whole.decode()
    )


async def test_lines_that_cannot_be_read_stay_as_they_are(gateway):
    """The check of lines names them with their numbers, as in every input file."""
    lines = [b"not JSON", b"[1]", b"", b'{"custom_id":"a","body":[]}', b'"x"', b'{"body":null}']

    answer = await post(gateway, form(b"\n".join(lines), model="m"))

    got = (await text_of(gateway, answer)).encode().split(b"\n")
    assert [got[0], got[1], got[2], got[4]] == [lines[0], lines[1], lines[2], lines[4]]
    assert json.loads(got[3]) == {"custom_id": "a", "body": [], "method": "POST", "url": CHAT}
    assert json.loads(got[5]) == {"body": None, "method": "POST", "url": CHAT}


async def test_a_line_longer_than_allowed_is_passed_on_for_the_check_to_refuse(starts):
    """Memory is that of the longest line allowed."""
    gateway = await starts(max_line_bytes=1000)
    long = b'{"custom_id":"long","body":{"input":"%s"}}' % (b"x" * (3 << 20))

    answer = await post(gateway, form(long + b"\n" + BARE, model="m"))

    first, second, _ = (await text_of(gateway, answer)).splitlines()
    assert first.encode() == long
    assert json.loads(second)["body"]["model"] == "m"


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.jsonl"])
async def test_a_compressed_file_is_unpacked_by_its_name(gateway, name):
    """As an upload for a batch is; a gzip named otherwise is no JSONL, and the check says what it is."""
    answer = await post(gateway, form(gzip.compress(BARE), name=name, model="m"))

    if name.endswith(".gz"):
        assert len(await lines_of(gateway, answer)) == 2
        file = await gateway.client.files.retrieve(answer.json["input_file_id"])
        assert file.filename == "x.jsonl"
    else:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("data", "param", "said"),
    [
        (lambda: form(None, model="m"), "file", "Missing required parameter"),
        (lambda: form(b" \n"), None, "Must be .jsonl"),
        (lambda: form("{}".encode("utf-16")), None, "UTF-16"),
        (lambda: form(metadata="name=x"), "metadata", "a JSON object"),
        (lambda: form(metadata="[]"), "metadata", "expected an object"),
        (lambda: form(metadata="[" * 3000), "metadata", "a JSON object"),
        (lambda: form(endpoint="/v1/x"), "endpoint", "Supported values"),
        (lambda: form(completion_window="soon"), "completion_window", "Supported values"),
        (lambda: form(model=""), "model", "minimum length"),
        (lambda: form(input_file_id="file-a"), "input_file_id", "both"),
        (lambda: form(on_failures="stop"), "on_failures", "Supported values"),
        (
            lambda: form(**{"output_expires_after[seconds]": "3600"}),
            "output_expires_after[anchor]",
            "",
        ),
        (
            lambda: form(
                **{
                    "output_expires_after[anchor]": "created_at",
                    "output_expires_after[seconds]": "soon",
                }
            ),
            "output_expires_after[seconds]",
            "integer",
        ),
        (lambda: form(metadata="x" * 70_000), None, "too long"),
        (lambda: form(**{f"f{n}": "x" * 60_000 for n in range(6)}), None, "too long"),
    ],
)
async def test_what_cannot_be_is_refused_and_leaves_nothing(gateway, data, param, said):
    """A 400 that names the part; no batch, no file, no bytes."""
    answer = await post(gateway, data())

    await check_refused(gateway, answer, param, said)


async def test_a_file_that_is_too_large_is_refused(starts):
    """As an upload is."""
    gateway = await starts(max_file_bytes=1000)

    answer = await post(gateway, form(b"x" * 2000))

    assert (answer.status, answer.json["error"]["message"][:17]) == (400, "File is too large")
    assert gateway.stored() == []


async def test_one_key_makes_one_batch(gateway):
    """Equal forms are equal whatever their boundaries; another file or field is a conflict."""
    key = {"Idempotency-Key": "k"}
    first = await post(gateway, form(model="m"), **key)
    again = await post(gateway, form(model="m", file_first=False), **key)
    others = [
        await post(gateway, form(BARE + BARE, model="m"), **key),
        await post(gateway, form(model="n"), **key),
        await post(gateway, form(model="m", metadata='{"a": "b"}'), **key),
    ]

    assert again.json["id"] == first.json["id"]
    assert [answer.status for answer in others] == [409] * 3
    assert len(gateway.stored()) == 1
