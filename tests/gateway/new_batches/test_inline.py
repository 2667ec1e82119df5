"""`POST /v1/batches` with `requests`: no file, one call."""

from __future__ import annotations

import asyncio
import gzip
import io
import json

import pytest
from refusals import check_refused

from batchline.states import OutcomeKind

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
HELLO = {"messages": [{"role": "user", "content": 'say "hi"\n[}{] é 😀'}]}


def request(custom_id, body=HELLO, **fields):
    return {"custom_id": custom_id, "body": body} | fields


async def post(gateway, body, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await gateway.call("POST", "/v1/batches", data=io.BytesIO(data), headers=headers)


async def lines_of(gateway, answer):
    """The lines of the batch's input file, as a client downloads them."""
    assert answer.status == 200, answer.json
    content = await gateway.client.files.content(answer.json["input_file_id"])
    return content.text


async def requests_of(gateway, answer):
    return [json.loads(line) for line in (await lines_of(gateway, answer)).splitlines()]


@pytest.mark.spec("beyond-inline")
async def test_requests_become_the_lines_of_an_input_file(gateway):
    """Each line inherits what it lacks: method, url and model; what it has stays."""
    asked = [request("a"), request("b", {"model": "own"} | HELLO, method="POST", url=CHAT)]

    answer = await post(gateway, {"model": "m", "endpoint": CHAT, "requests": asked})

    assert await requests_of(gateway, answer) == [
        request("a", {"model": "m"} | HELLO, method="POST", url=CHAT),
        asked[1],
    ]
    assert answer.json["status"] == "validating"
    assert answer.json["endpoint"] == CHAT
    assert answer.json["completion_window"] == "24h"
    file = await gateway.client.files.retrieve(answer.json["input_file_id"])
    assert (file.purpose, file.filename) == ("batch", "requests.jsonl")
    assert file.bytes == len((await lines_of(gateway, answer)).encode())


@pytest.mark.parametrize(
    "order",
    [
        ("endpoint", "model", "requests"),
        ("requests", "endpoint", "model"),
        ("model", "requests", "endpoint"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("indent", [None, 2])
async def test_the_order_of_fields_makes_no_difference(gateway, order, indent):
    """Also where the model stands behind the requests, which are written by then."""
    fields = {"endpoint": EMBEDDINGS, "model": "e5", "requests": [request("a", {"input": "x"})]}
    body = json.dumps({name: fields[name] for name in order}, indent=indent).encode()

    answer = await post(gateway, body)

    (line,) = await requests_of(gateway, answer)
    expected = request("a", {"model": "e5", "input": "x"}, method="POST", url=EMBEDDINGS)
    assert line == expected
    assert answer.json["endpoint"] == EMBEDDINGS


@pytest.mark.spec("beyond-inline")
@pytest.mark.parametrize(
    ("fields", "urls", "endpoint", "filled"),
    [
        ({}, [None, None], CHAT, [CHAT, CHAT]),
        ({}, [EMBEDDINGS, None], EMBEDDINGS, [EMBEDDINGS, EMBEDDINGS]),
        ({}, [None, EMBEDDINGS], CHAT, [CHAT, EMBEDDINGS]),
        ({}, ["/v1/nothing", None], CHAT, ["/v1/nothing", CHAT]),
        ({"endpoint": EMBEDDINGS}, [CHAT, None], EMBEDDINGS, [CHAT, EMBEDDINGS]),
    ],
)
async def test_without_an_endpoint_it_is_the_url_of_the_first_request(
    gateway, fields, urls, endpoint, filled
):
    """Or else that of chats. A line with another url is refused later, as in every input file."""
    asked = [request(str(n), **({"url": url} if url else {})) for n, url in enumerate(urls)]

    answer = await post(gateway, fields | {"requests": asked})

    assert answer.json["endpoint"] == endpoint
    assert [line["url"] for line in await requests_of(gateway, answer)] == filled


async def test_what_a_body_holds_stays_as_it_was_written(gateway):
    """Numbers keep their digits, names their order and escapes, nulls where a field lacks nothing."""
    body = rb'{"temperature": 1.00, "seed": 12345678901234567890123, "n": 1e0, "t": "\u00e9\/"}'

    answer = await post(gateway, b'{"requests":[{"custom_id":"a","body":%s}]}' % body)
    with_model = await post(
        gateway, b'{"model":"m","requests":[{"custom_id":"a","url":null,"body":%s}]}' % body
    )

    assert body.decode() in await lines_of(gateway, answer)
    inner = body.decode()[1:-1]
    for part in inner.split(", "):
        name, _, value = part.partition(": ")
        assert f"{name}:{value}" in await lines_of(gateway, with_model)


async def test_a_request_of_a_megabyte_is_one_line_with_all_that_it_lacks(gateway):
    """It is written as it comes, and completed in a second pass."""
    asked = [request("a"), request("long", {"input": "x" * (1 << 20)}), request("b")]

    answer = await post(gateway, {"model": "m", "requests": asked})

    lines = await requests_of(gateway, answer)
    assert [line["custom_id"] for line in lines] == ["a", "long", "b"]
    assert all(line["url"] == CHAT and line["body"]["model"] == "m" for line in lines)
    assert lines[1]["body"]["input"] == "x" * (1 << 20)


async def test_ten_thousand_requests_in_one_compressed_body(gateway):
    """A body may come in any coding that uploads may."""
    asked = [request(f"c{n}", {"messages": [], "n": n}) for n in range(10_000)]
    packed = gzip.compress(json.dumps({"model": "m", "requests": asked}).encode())

    answer = await post(gateway, packed, **{"Content-Encoding": "gzip"})

    assert [line["body"]["n"] for line in await requests_of(gateway, answer)] == list(range(10_000))


@pytest.mark.spec("beyond-inline-bad")
@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"requests": []}, "requests", "Send at least one"),
        ({"requests": {}}, "requests", "expected an array, but got an object"),
        ({"requests": "[]"}, "requests", "expected an array, but got a string"),
        ({"requests": ["a"]}, "requests[0]", "expected an object"),
        ({"requests": [request("a"), 7]}, "requests[1]", "expected an object"),
        ({"requests": [request("a"), None]}, "requests[1]", "expected an object"),
        ({"requests": [request("a")], "input_file_id": "file-a"}, "input_file_id", "both"),
        ({"requests": [request("a")], "model": 7}, "model", "expected a string"),
        ({"requests": [request("a")], "model": ""}, "model", "minimum length 1"),
        ({"requests": [request("a")], "endpoint": "/v1/x"}, "endpoint", "Supported values"),
        ({"requests": [request("a")], "completion_window": "1s"}, "completion_window", "1h"),
        ({"requests": [request("a")], "metadata": {"a": 1}}, "metadata.a", "a string"),
        ({"requests": None}, "completion_window", "Missing"),
        (b'{"requests": [{"custom_id": "a\n"}]}', "requests[0]", "JSON is malformed"),
        (
            b'{"requests": [{}, {"a": "%s\r"}]}' % (b"x" * 300_000),
            "requests[1]",
            "JSON is malformed",
        ),
        (b'{"requests": [{"a": "\t%s"}]}' % (b"x" * 300_000), "requests[0]", "JSON is malformed"),
        (b'{"requests": [{"a": 1] }', "requests[0]", "a bracket that was not opened"),
        (b'{"requests": [{"a": 1], {}]}', "requests[0]", "JSON is malformed"),
        (b'{"requests": [{}{}]}', "requests[0]", "JSON is malformed"),
        (b'{"requests": [{},]}', "requests[1]", "nothing between two commas"),
        (b'{"requests": [{}], "requests": [{}]}', "requests", "twice"),
        (b'{"requests": [{}]', None, "not parse"),
        (b'{"requests": [{}', None, "not parse"),
        (b'{"requests": [{}]} {}', None, "not parse"),
        (b'{"requests": [' + b"[" * 100_000, None, "not parse"),
        (b'{"requests": [' + b"[" * 9000 + b"]" * 9000 + b"]}", "requests[0]", "an object"),
        (b'{"requests": [' + b'{"a":' * 9000 + b"1" + b"}" * 9000 + b"]}", "requests[0]", "deeply"),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, (dict, bytes)) else "",
)
async def test_what_cannot_be_is_refused_with_its_place_and_leaves_nothing(
    gateway, body, param, said
):
    """A 400 that names the request or the field; no batch, no file, no bytes."""
    answer = await post(gateway, body)

    await check_refused(gateway, answer, param, said)


async def test_lines_with_faults_are_the_batch_s_errors_as_in_every_file(gateway):
    """A request without custom_id is no malformed body: it is line 2, and validation says so."""
    answer = await post(gateway, {"requests": [request("a"), {"body": HELLO}, request("a")]})

    assert len(await requests_of(gateway, answer)) == 3


async def test_the_body_without_requests_may_be_as_long_as_ever(gateway):
    """The limit of JSON bodies counts the frame alone."""
    asked = {"requests": [request(str(n), {"input": "x" * 1000}) for n in range(3000)]}
    good = await post(gateway, asked)
    bad = await post(gateway, asked | {"junk": "x" * (1 << 20)})

    assert good.status == 200
    assert bad.status == 413
    assert len(gateway.stored()) == 1


async def test_one_key_makes_one_batch_and_keeps_one_file(gateway):
    """The same requests under the same Idempotency-Key; other requests are a conflict."""
    key = {"Idempotency-Key": "k"}
    body = {"model": "m", "requests": [request("a"), request("b")]}

    first = await post(gateway, body, **key)
    again = await post(gateway, json.dumps(dict(reversed(body.items()))).encode(), **key)
    other = await post(gateway, body | {"requests": [request("a"), request("c")]}, **key)
    raced = await asyncio.gather(
        *(post(gateway, body, **{"Idempotency-Key": "r"}) for _ in range(8))
    )

    assert again.json["id"] == first.json["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert other.status == 409
    assert len({answer.json["id"] for answer in raced}) == 1
    assert len((await gateway.call("GET", "/v1/files")).json["data"]) == 2
    assert len(gateway.stored()) == 2


async def test_a_client_that_repeats_itself_gets_its_batch(gateway):
    """As the stock clients do after a lost answer."""
    body = {"requests": [request("a")]}
    first = await post(gateway, body, **{"x-stainless-retry-count": "0"})
    again = await post(gateway, body, **{"x-stainless-retry-count": "1"})

    assert again.json["id"] == first.json["id"]
    assert again.headers["x-batchline-replayed"] == "true"
    assert len(gateway.stored()) == 1


async def test_the_stock_client_can_send_requests(gateway):
    """By `extra_body`, which the package merges into its own body."""
    batch = await gateway.client.batches.create(
        input_file_id=None,
        endpoint=CHAT,
        completion_window="24h",
        extra_body={"model": "m", "requests": [request("a")]},
    )

    content = await gateway.client.files.content(batch.input_file_id)
    assert json.loads(content.text)["body"]["model"] == "m"


async def test_deleting_the_batch_deletes_its_requests(gateway):
    """Nobody uploaded the file, so nobody else names it."""
    answer = await post(gateway, {"requests": [request("a")]})
    batch_id, file_id = answer.json["id"], answer.json["input_file_id"]
    await gateway.run(batch_id, OutcomeKind.FAILED)

    deleted = await gateway.call("DELETE", f"/v1/batches/{batch_id}")

    assert deleted.status == 200
    assert (await gateway.call("GET", f"/v1/files/{file_id}")).status == 404
