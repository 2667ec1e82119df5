"""Batches that take requests: created with `open`, added to, finalized."""

from __future__ import annotations

import asyncio
import gzip
import io
import json

import pytest
from claims import claim_one
from sdk_shapes import parse_strictly

from batchline.blobs.keys import append_key
from batchline.errors import StoreUnavailable
from batchline.process import failpoints
from batchline.states import BatchStatus

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
HELLO = {"messages": [{"role": "user", "content": 'say "hi"\n é 😀'}]}
NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(autouse=True)
def disarmed():
    yield
    failpoints.arm("")


def request(custom_id, body=HELLO, **fields):
    return {"custom_id": custom_id, "body": body} | fields


def whole(custom_id, model="m"):
    """A request as it is stored."""
    return request(custom_id, {"model": model} | HELLO, method="POST", url=CHAT)


async def create(gateway, **fields):
    answer = await gateway.call("POST", "/v1/batches", json={"open": True, "model": "m"} | fields)
    assert answer.status == 200, answer.json
    return answer.json


async def add(gateway, batch, requests, **headers):
    """Append them as JSON, or as they are."""
    body = requests if isinstance(requests, bytes) else json.dumps({"requests": requests}).encode()
    path = f"/v1/batches/{batch['id']}/requests"
    return await gateway.call("POST", path, data=io.BytesIO(body), headers=headers)


async def lines_of(gateway, batch):
    """What the dispatcher would send: the bytes of each slice, in order."""
    stored = await gateway.store.get_batch(batch["id"])
    found = []
    for piece in await gateway.store.slices(stored):
        key = append_key(stored.id, piece.append)
        data = await gateway.blobs.read(key, offset=piece.offset_bytes, length=piece.length_bytes)
        found += [json.loads(line) for line in data.splitlines()]
    return found


@pytest.mark.spec("beyond-open-batch")
async def test_an_open_batch_is_in_progress_and_says_so(gateway):
    """There is nothing to validate. Endpoint and window may be left out."""
    batch = await create(gateway, metadata={"name": "n"}, on_failures="pause")
    other = await create(gateway, endpoint=EMBEDDINGS, completion_window="48h", model=None)

    assert (batch["status"], batch["open"]) == ("in_progress", True)
    assert batch["in_progress_at"] == batch["created_at"]
    assert (batch["endpoint"], batch["completion_window"]) == (CHAT, "24h")
    assert (batch["metadata"], batch["on_failures"]) == ({"name": "n"}, "pause")
    assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert (batch["model"], batch["estimate"]) == (None, None)
    assert (other["endpoint"], other["completion_window"]) == (EMBEDDINGS, "48h")
    shown = await gateway.call("GET", f"/v1/batches/{batch['id']}")
    assert shown.json == batch
    parse_strictly(shown.body, shown.json)
    listed = await gateway.client.batches.list()
    assert [one.open for one in listed.data] == [True, True]
    file = await gateway.call("GET", f"/v1/files/{batch['input_file_id']}")
    assert file.status == 404


@pytest.mark.parametrize("value", [False, None])
async def test_a_batch_that_is_not_open_has_no_such_field(gateway, value):
    """Nothing changes for whoever does not ask for it."""
    file = await gateway.upload()
    body = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h", "open": value}

    answer = await gateway.call("POST", "/v1/batches", json=body)

    assert answer.json["status"] == "validating"
    assert "open" not in answer.json


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"open": "true"}, "open"),
        ({"open": True, "input_file_id": "file-x"}, "open"),
        ({"open": True, "requests": [request("a")]}, "open"),
        ({"open": True, "model": ""}, "model"),
        ({"open": True, "model": 5}, "model"),
        ({"open": True, "endpoint": "/v1/nothing"}, "endpoint"),
        ({"open": True, "completion_window": "1s"}, "completion_window"),
    ],
)
async def test_a_wrong_create_is_refused(gateway, fields, param):
    """It names what is wrong, and leaves nothing."""
    answer = await gateway.call("POST", "/v1/batches", json=fields)

    assert (answer.status, answer.json["error"]["param"]) == (400, param)
    assert (await gateway.client.batches.list()).data == []
    assert gateway.stored() == []


async def test_the_same_create_under_a_key_gets_the_same_batch(gateway):
    """As any other create."""
    body = {"open": True, "model": "m"}
    answers = [
        await gateway.call("POST", "/v1/batches", json=body, headers={"Idempotency-Key": "k"})
        for _ in range(2)
    ]

    assert answers[0].json["id"] == answers[1].json["id"]
    assert answers[1].headers["Idempotent-Replayed"] == "true"


@pytest.mark.spec("beyond-open-batch")
async def test_requests_are_added_and_can_be_claimed(gateway):
    """Each inherits what it lacks; what it has stays."""
    batch = await create(gateway)
    mine = request("c", {"model": "own"} | HELLO, method="POST", url=CHAT)

    first = await add(gateway, batch, [request("a"), request("b", url=None, method=None)])
    second = await add(gateway, batch, [mine])

    assert first.json == {
        "object": "batch.append",
        "batch_id": batch["id"],
        "added": 2,
        "duplicates": 0,
        "total": 2,
    }
    assert (second.json["added"], second.json["total"]) == (1, 3)
    assert await lines_of(gateway, batch) == [whole("a"), whole("b"), mine]
    shown = (await gateway.call("GET", f"/v1/batches/{batch['id']}")).json
    assert shown["request_counts"]["total"] == 3
    stored = await gateway.store.get_batch(batch["id"])
    claim = await claim_one(gateway.store, stored, slices=9, holder="t", ttl_s=30)
    assert [lease.slice.count for lease in claim.leases] == [2, 1]


@pytest.mark.spec("beyond-open-batch-lines")
@pytest.mark.parametrize("kind", ["application/x-ndjson", "application/jsonl; charset=utf-8"])
@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n\r\n  \n"])
async def test_requests_come_as_lines_too(gateway, kind, end):
    """A BOM, blank lines and carriage returns do no harm."""
    batch = await create(gateway)
    body = b"\xef\xbb\xbf" + b"\r\n\n".join(json.dumps(request(n)).encode() for n in "abc") + end

    answer = await add(gateway, batch, body, **{"Content-Type": kind})

    assert answer.json["added"] == 3
    assert await lines_of(gateway, batch) == [whole("a"), whole("b"), whole("c")]


async def test_json_may_be_indented_and_have_other_fields(gateway):
    """Each request is one line, whatever breaks it was sent with."""
    batch = await create(gateway)
    body = {"note": "x", "requests": [request("a"), request("b")], "model": "not this one"}

    answer = await add(gateway, batch, json.dumps(body, indent=2).encode())

    assert answer.json["added"] == 2
    assert await lines_of(gateway, batch) == [whole("a"), whole("b")]


async def test_a_compressed_body_is_unpacked(gateway):
    """As that of an upload."""
    batch = await create(gateway)
    body = gzip.compress(json.dumps({"requests": [request("a")]}).encode())

    assert (await add(gateway, batch, body, **{"Content-Encoding": "gzip"})).json["added"] == 1


@pytest.mark.spec("beyond-open-batch-once")
async def test_what_is_sent_again_is_not_added_again(gateway):
    """Whole or in part, after a lost answer or by two clients: each custom_id once."""
    batch = await create(gateway)
    await add(gateway, batch, [request("a"), request("b")])

    again = await add(gateway, batch, [request("a"), request("b")])
    partly = await add(gateway, batch, [request("b"), request("c"), request("a"), request("d")])

    assert (again.json["added"], again.json["duplicates"]) == (0, 2)
    assert (partly.json["added"], partly.json["duplicates"]) == (2, 2)
    assert [line["custom_id"] for line in await lines_of(gateway, batch)] == ["a", "b", "c", "d"]
    assert len(gateway.stored()) == 2  # of the append that brought nothing new, nothing is left


@pytest.mark.spec("beyond-open-batch-once")
async def test_fifty_clients_add_at_the_same_time(gateway):
    """Each sends the requests of its neighbor, too."""
    batch = await create(gateway)
    names = [f"id-{number}" for number in range(100)]

    answers = await asyncio.gather(
        *(
            add(gateway, batch, [request(name) for name in (names + names)[n : n + 4]])
            for n in range(0, 100, 2)
        )
    )

    assert sum(answer.json["added"] for answer in answers) == 100
    found = [line["custom_id"] for line in await lines_of(gateway, batch)]
    assert sorted(found) == sorted(names)


BAD = [
    (request("b", {"model": "m"}), "body.messages", "missing_required_parameter"),
    (request("b", {"stream": True} | HELLO), "body.stream", "streaming_unsupported"),
    (request("b", url=EMBEDDINGS), "url", "invalid_url"),
    (request("b", method="GET"), "method", "invalid_method"),
    (request(7), "custom_id", "invalid_request"),
    ({"body": HELLO}, "custom_id", "missing_required_parameter"),
    ({"custom_id": "b"}, "body", "missing_required_parameter"),
    (request("b", {"n": 1000} | HELLO), "body.n", None),
    (request("a"), "custom_id", "duplicate_custom_id"),
    ("text", None, "invalid_request"),
    (["a"], None, "invalid_request"),
]


@pytest.mark.spec("beyond-open-batch-bad")
@pytest.mark.parametrize(("bad", "param", "code"), BAD, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("are_lines", [False, True])
async def test_a_bad_request_refuses_the_whole_append(gateway, bad, param, code, are_lines):
    """It is named by its place, and nothing is left."""
    batch = await create(gateway)
    asked = [request("a"), bad, request("c")]
    if are_lines:
        body = b"\n\n".join(json.dumps(one).encode() for one in asked)
        answer = await add(gateway, batch, body, **NDJSON)
        where, wanted = "Line 3: ", param
    else:
        answer = await add(gateway, batch, asked)
        where = "Invalid 'requests[1]': "
        wanted = f"requests[1].{param}" if param else "requests[1]"

    error = answer.json["error"]
    assert (answer.status, error["param"]) == (400, wanted), error
    assert error["message"].startswith(where)
    assert code is None or error["code"] == code
    assert gateway.stored() == []
    assert (await gateway.store.get_batch(batch["id"])).counts.total == 0


@pytest.mark.spec("beyond-open-batch-bad")
@pytest.mark.parametrize(
    ("body", "headers", "says"),
    [
        (b"", {}, "could not parse"),
        (b"{}", {}, "application/x-ndjson"),
        (b"[]", {}, "JSON object"),
        (b'{"requests": {}}', {}, "expected an array"),
        (b'{"requests": null}', {}, "expected an array"),
        (b'{"requests": []}', {}, "no request"),
        (b'{"requests": [{}', {}, "could not parse"),
        (b'{"requests": [], "requests": []}', {}, "twice"),
        (b'{"requests": [1,,2]}', {}, "between two commas"),
        (b"", NDJSON, "no request"),
        (b"\n \n", NDJSON, "no request"),
        (b"{\n", NDJSON, "Line 1: This line is not parseable"),
        (b"\xff\n", NDJSON, "Line 1: This line is not parseable"),
        (json.dumps({"requests": [request("a")]}).encode(), NDJSON, "Line 1: Missing required"),
        (b'{"custom_id":"a","body":' + b'{"a":' * 5000, NDJSON, "Line 1: "),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_a_body_without_requests_is_refused(gateway, body, headers, says):
    """It says how they are sent."""
    batch = await create(gateway)

    answer = await add(gateway, batch, body, **headers)

    assert answer.status == 400
    assert says in answer.json["error"]["message"]
    assert gateway.stored() == []


async def test_a_long_request_is_one_line(gateway):
    """It lies in a file until all of the body is there."""
    batch = await create(gateway)
    long = request("long", {"messages": [], "pad": "x" * (1 << 20)})

    for body, headers in (
        (json.dumps({"requests": [request("a"), long]}).encode(), {}),
        (json.dumps(long | {"custom_id": "longer"}).encode(), NDJSON),
    ):
        assert (await add(gateway, batch, body, **headers)).status == 200

    sizes = [len(line["body"].get("pad", "")) for line in await lines_of(gateway, batch)]
    assert sizes == [0, 1 << 20, 1 << 20]


@pytest.mark.parametrize("headers", [{}, NDJSON])
async def test_a_request_that_is_too_long_is_refused(starts, headers):
    """While it is read, not when all of it is in memory; also if only what it inherits makes it too long."""
    gateway = await starts(max_line_bytes=1 << 17)
    batch = await create(gateway, model="m" * 100)
    barely = request("a", {"messages": [], "pad": "x" * ((1 << 17) - 100)})
    far = request("a", {"messages": [], "pad": "x" * (1 << 18)})

    for one in (barely, far):
        body = json.dumps(one if headers else {"requests": [one]}).encode()
        answer = await add(gateway, batch, body, **headers)

        assert answer.status == 400
        assert "longer than 131,072 bytes" in answer.json["error"]["message"]
    assert gateway.stored() == []


async def test_an_append_has_ten_thousand_requests_at_most(gateway):
    """Others would wait too long for its transaction."""
    batch = await create(gateway)
    body = b"\n".join(json.dumps(request(str(n), {"messages": []})).encode() for n in range(10_001))

    refused = await add(gateway, batch, body, **NDJSON)
    taken = await add(gateway, batch, body.rpartition(b"\n")[0], **NDJSON)

    assert refused.status == 400
    assert refused.json["error"]["message"].startswith("Line 10001: there are more than 10,000")
    assert taken.json["added"] == 10_000


@pytest.mark.spec("beyond-open-batch-full")
@pytest.mark.parametrize("limit", [{"max_lines": 3}, {"max_upload_bytes": 450}])
async def test_a_full_batch_takes_nothing_more(starts, limit):
    """It is as large as one over a file may be."""
    gateway = await starts(**limit)
    batch = await create(gateway)
    await add(gateway, batch, [request("a"), request("b")])

    refused = await add(gateway, batch, [request("c"), request("d")])

    assert (refused.status, refused.json["error"]["code"]) == (400, "too_many_tasks")
    assert "Nothing was added" in refused.json["error"]["message"]
    assert len(gateway.stored()) == 1


async def test_a_body_is_no_larger_than_a_file(starts):
    """The rest of it is not read."""
    gateway = await starts(max_file_bytes=2000)
    batch = await create(gateway)

    answer = await add(gateway, batch, b"x" * 3000, **NDJSON)

    assert answer.status == 413
    assert "BATCHLINE_MAX_FILE_BYTES" in answer.json["error"]["message"]


async def test_a_server_for_one_model_a_batch_asks_for_it(starts):
    """By a setting: the create says which, and each request names that."""
    gateway = await starts(one_model_per_batch=True)
    without = await gateway.call("POST", "/v1/batches", json={"open": True})
    batch = await create(gateway)

    other = await add(gateway, batch, [request("a"), request("b", {"model": "n"} | HELLO)])
    same = await add(gateway, batch, [request("a"), request("b", {"model": "m"} | HELLO)])

    assert (without.status, without.json["error"]["param"]) == (400, "model")
    assert (other.status, other.json["error"]["code"]) == (400, "mismatched_model")
    assert same.json["added"] == 2


@pytest.mark.spec("beyond-open-batch-closed")
@pytest.mark.parametrize(
    ("end", "says"),
    [
        ("finalize", "it was finalized"),
        ("cancel", "its status is 'cancelling'"),
        ("window", "its completion window has ended"),
        ("file", "it was not created with 'open'"),
        ("unknown", None),
    ],
)
async def test_a_batch_that_takes_none_says_why(gateway, clock, end, says):
    """409, and nothing is stored."""
    batch = await create(gateway)
    match end:
        case "finalize" | "cancel":
            await add(gateway, batch, [request("a")])
            await gateway.call("POST", f"/v1/batches/{batch['id']}/{end}")
        case "window":
            clock.advance(86400)
        case "file":
            batch = {"id": (await gateway.create_batch()).id}
        case _:
            batch = {"id": "batch_x"}
    before = len(gateway.stored())

    answer = await add(gateway, batch, [request("b")])

    assert answer.status == (409 if says else 404)
    assert says is None or says in answer.json["error"]["message"]
    assert len(gateway.stored()) == before


async def test_a_batch_that_is_closed_while_the_body_comes_takes_nothing(gateway):
    """The rows decide; the bytes are deleted."""
    batch = await create(gateway)
    asked, closed = asyncio.Event(), asyncio.Event()

    async def body():
        yield b'{"requests": ['
        asked.set()
        await closed.wait()
        yield json.dumps(request("a")).encode() + b"]}"

    path = f"/v1/batches/{batch['id']}/requests"
    adding = asyncio.ensure_future(gateway.call("POST", path, data=body()))
    await asked.wait()
    await gateway.call("POST", f"/v1/batches/{batch['id']}/cancel")
    closed.set()

    assert (await adding).status == 409
    assert gateway.stored() == []


@pytest.mark.spec("beyond-open-batch-once")
async def test_an_answer_that_is_lost_is_asked_for_again(gateway):
    """The rows are there: their bytes stay, and the requests are not added twice."""
    batch = await create(gateway)
    failpoints.arm("append.stored=error")

    lost = await add(gateway, batch, [request("a"), request("b")])
    again = await add(gateway, batch, [request("a"), request("b")])

    assert lost.status == 503
    assert (again.json["added"], again.json["duplicates"]) == (0, 2)
    assert [line["custom_id"] for line in await lines_of(gateway, batch)] == ["a", "b"]


async def test_an_append_whose_rows_fail_adds_nothing(gateway):
    """It may be repeated at once."""
    batch = await create(gateway)
    failpoints.arm("append.rows=error")

    failed = await add(gateway, batch, [request("a")])
    again = await add(gateway, batch, [request("a")])

    assert (failed.status, again.json["added"]) == (503, 1)
    assert [line["custom_id"] for line in await lines_of(gateway, batch)] == ["a"]


async def test_a_full_disk_refuses_an_append(starts):
    """507, as an upload."""
    gateway = await starts(min_free_bytes=1 << 60)
    answer = await gateway.call("POST", "/v1/batches", json={"open": True})

    assert (await add(gateway, answer.json, [request("a")])).status == 507


@pytest.mark.spec("beyond-open-batch-finalize")
async def test_a_finalized_batch_takes_no_more_and_tells_its_model(gateway):
    """A second time changes nothing."""
    batch = await create(gateway)
    await add(gateway, batch, [request("a")])
    path = f"/v1/batches/{batch['id']}/finalize"

    first, second = await gateway.call("POST", path), await gateway.call("POST", path)

    assert first.status == 200
    assert (first.json["open"], first.json["status"]) == (False, "in_progress")
    assert first.json["model"] == "m"
    assert second.json["request_counts"] == first.json["request_counts"]
    assert (await gateway.store.get_batch(batch["id"])).status is BatchStatus.IN_PROGRESS


async def test_only_an_open_batch_is_finalized(gateway):
    """404 for one that is unknown, 409 for one over a file."""
    plain = await gateway.create_batch()

    unknown = await gateway.call("POST", "/v1/batches/batch_x/finalize")
    refused = await gateway.call("POST", f"/v1/batches/{plain.id}/finalize")

    assert (unknown.status, refused.status) == (404, 409)
    assert "'open'" in refused.json["error"]["message"]


async def test_an_open_batch_is_steered_like_any_other(gateway):
    """Pause, resume, no retry before its end, results so far, a delete that cancels."""
    batch = await create(gateway)
    await add(gateway, batch, [request("a")])
    path = f"/v1/batches/{batch['id']}"

    paused = await gateway.call("POST", f"{path}/pause")
    resumed = await gateway.call("POST", f"{path}/resume")
    retried = await gateway.call("POST", f"{path}/retry")
    results = await gateway.call("GET", f"{path}/results")
    deleted = await gateway.call("DELETE", path)

    assert paused.json["paused_at"] is not None
    assert resumed.json["paused_at"] is None
    assert retried.status == 409
    assert (results.body, results.headers["X-Incomplete"]) == (b"", "true")
    assert (deleted.json["status"], deleted.json["open"]) == ("cancelling", False)


async def test_a_cancelled_batch_without_requests_cannot_be_retried(gateway):
    """There never was anything to run."""
    batch = await create(gateway)
    await gateway.call("POST", f"/v1/batches/{batch['id']}/cancel")
    await gateway.close(batch["id"], BatchStatus.CANCELLED)

    answer = await gateway.call("POST", f"/v1/batches/{batch['id']}/retry")

    assert answer.status == 409
    assert "without any request" in answer.json["error"]["message"]


async def test_bytes_stay_where_it_is_not_known_whether_their_rows_were_written(starts, store):
    """They are garbage at the latest when the batch ends."""

    class Refusing:
        def __getattr__(self, name):
            return getattr(store, name)

        async def append(self, *args, **kwargs):
            await store.append(*args, **kwargs)
            raise StoreUnavailable("the disk refused the commit, or its answer")

    gateway = await starts(with_store=Refusing())
    batch = await create(gateway)

    answer = await add(gateway, batch, [request("a")])

    assert answer.status == 503
    assert [line["custom_id"] for line in await lines_of(gateway, batch)] == ["a"]
