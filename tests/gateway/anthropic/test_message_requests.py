"""The requests of a message batch: what is checked at once, and how long ones become lines."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from message_batches import PARAMS, PATH, own, request_of
from waiting import turn

from batchline.errors import RequestTooLarge
from gateway.dialects.anthropic.message_requests import Bounds, MessageRequests

BOUNDS = Bounds(requests=1000, request_bytes=1 << 20, frame_bytes=1 << 16)


def too_large():
    return AssertionError("the frame is small")


def lines_of(body, *, chunk_bytes=1 << 20, bounds=BOUNDS):
    """Read a body to its end; return its lines as they come to lie in the file."""
    requests = MessageRequests(bounds, too_large=too_large)
    chunks = [body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes)]
    text = b"".join([requests.feed(chunk) for chunk in chunks])
    requests.fields()
    lines = text.splitlines()
    if requests.needs_second_pass:
        lines = [requests.second_pass(number, line) for number, line in enumerate(lines)]
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 20])
def test_each_request_becomes_a_line(chunk_bytes):
    """However it is written, and in whatever pieces it comes; what is beside the params is left out."""
    requests = [request_of("a"), request_of("b-_9") | {"extra": [1, {"params": 2}]}]
    body = json.dumps({"requests": requests, "more": {"requests": []}}, indent=1).encode()

    assert lines_of(body, chunk_bytes=chunk_bytes) == [
        {"custom_id": custom_id, "method": "POST", "url": "/v1/messages", "body": PARAMS}
        for custom_id in ("a", "b-_9")
    ]


def test_what_a_request_holds_stays_as_it_was_written():
    """Digits of numbers, order and doubling of names, escapes."""
    params = b'{"z": 1.50, "a": 123456789012345678901234567890, "z": "\\u00e9\\ud83d"}'
    requests = MessageRequests(BOUNDS, too_large=too_large)

    line = requests.feed(b'{"requests":[{"params":' + params + b',"custom_id":"\\u0061"}]}')

    head = b'{"custom_id":"a","method":"POST","url":"/v1/messages","body":'
    assert line == head + params + b"}\n"


@pytest.mark.parametrize("chunk_bytes", [1000, 1 << 20])
def test_a_long_request_becomes_a_line_in_a_second_pass(chunk_bytes):
    """It looks like any other then, whatever it looked like before."""
    long = request_of("long", system="x" * 200_000) | {"method": "PUT", "body": {}}
    body = json.dumps({"requests": [request_of("a"), long, request_of("b")]}, indent=1).encode()

    lines = lines_of(body, chunk_bytes=chunk_bytes)

    assert [line["custom_id"] for line in lines] == ["a", "long", "b"]
    assert {line["method"] for line in lines} == {"POST"}
    assert lines[1]["body"] == PARAMS | {"system": "x" * 200_000}
    assert list(lines[1]) == ["custom_id", "method", "url", "body"]


def body(*requests):
    return json.dumps({"requests": requests}).encode()


LONG = {"system": "x" * 100_000}
REFUSED = {
    "no body": (b"", None, "could not parse"),
    "no object": (b"[]", None, "could not parse"),
    "cut short": (body(request_of("a"))[:-1], None, "could not parse"),
    "no requests": (b"{}", "requests", "Missing required parameter: 'requests'"),
    "requests null": (b'{"requests":null}', "requests", "expected an array"),
    "none": (body(), "requests", "Send at least one"),
    "a number": (body(request_of("a"), 7), "requests[1]", "expected an object"),
    "no custom_id": (body({"params": {}}), "requests.0.custom_id", "Missing"),
    "custom_id a number": (body({"custom_id": 7, "params": {}}), "requests.0.custom_id", "1 to 64"),
    "custom_id null": (body({"custom_id": None, "params": {}}), "requests.0.custom_id", "1 to 64"),
    "an empty one": (body(request_of("")), "requests.0.custom_id", "1 to 64"),
    "one of 65": (body(request_of("x" * 65)), "requests.0.custom_id", "1 to 64"),
    "a blank": (body(request_of("a"), request_of("a b")), "requests.1.custom_id", "letters"),
    "an umlaut": (body(request_of("ä")), "requests.0.custom_id", "letters"),
    "a newline": (body(request_of("a\n")), "requests.0.custom_id", "letters"),
    "twice": (body(*map(request_of, "aba")), "requests.2.custom_id", "'a' is there twice"),
    "twice, long": (
        body(request_of("a"), request_of("a", **LONG)),
        "requests.1.custom_id",
        "there twice",
    ),
    "no params": (body({"custom_id": "a"}), "requests.0.params", "Missing"),
    "params a list": (body({"custom_id": "a", "params": []}), "requests.0.params", "an object"),
    "a long one without params": (
        body({"custom_id": "a", "body": LONG}),
        "requests.0.params",
        "Missing",
    ),
    "nested too deeply": (
        b'{"requests":[{"custom_id":"a","params":' + b"[" * 60_000,
        None,
        "could not parse",
    ),
}


@pytest.mark.spec("anthropic-custom-id", "anthropic-create")
@pytest.mark.parametrize(("sent", "param", "said"), REFUSED.values(), ids=REFUSED)
async def test_what_is_refused_at_once(gateway, sent, param, said):
    """400 in Anthropic's form, which names the place; no batch, no file, no bytes."""
    answer = await gateway.call("POST", PATH, data=sent)

    assert answer.status == 400, answer.body
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert said in answer.json["error"]["message"]
    assert param is None or param in answer.json["error"]["message"]
    assert (await gateway.call("GET", "/v1/batches")).json["data"] == []
    assert (await gateway.call("GET", "/v1/files")).json["data"] == []
    assert gateway.stored() == []


@pytest.mark.spec("anthropic-params-later")
async def test_what_params_say_is_not_looked_at(gateway):
    """A bad request is one errored request, later."""
    sent = body({"custom_id": "a", "params": {}}, {"custom_id": "b", "params": {"stream": True}})

    answer = await gateway.call("POST", PATH, data=sent)

    assert (answer.status, answer.json["request_counts"]["processing"]) == (200, 2)


@pytest.mark.spec("anthropic-limits")
async def test_the_limits_are_413(starts):
    """As many requests as a batch may have, as long as a line may be, as many bytes as a file may have."""
    gateway = await starts(max_lines=3, max_line_bytes=10_000, max_file_bytes=30_000)
    many = body(*(request_of(str(n)) for n in range(4)))
    long = body(request_of("a"), request_of("b", system="x" * 10_000))
    large = body(*(request_of(str(n), system="x" * 9_000) for n in range(3))) + b" " * 9_000

    for sent, said in ((many, "more than 3"), (long, "requests.1"), (large, "30,000 bytes")):
        answer = await gateway.call("POST", PATH, data=sent)
        assert (answer.status, answer.json["error"]["type"]) == (413, "invalid_request_error")
        assert said in answer.json["error"]["message"]
    assert gateway.stored() == []
    fits = body(*(request_of(str(n)) for n in range(3)))
    assert (await gateway.call("POST", PATH, data=fits)).status == 200


def test_a_long_request_is_refused_before_it_has_ended():
    """It never lies in the file, nor in memory."""
    bounds = Bounds(requests=10, request_bytes=200_000, frame_bytes=1000)
    requests = MessageRequests(bounds, too_large=too_large)
    requests.feed(b'{"requests":[{"custom_id":"a","params":{"system":"')

    requests.feed(b"x" * 190_000)

    with pytest.raises(RequestTooLarge, match=r"requests\.0"):
        requests.feed(b"x" * 100_000)


def test_100_000_requests_take_little_memory():
    """16 bytes of each custom_id are kept, and the set that holds them."""
    requests = MessageRequests(
        Bounds(requests=100_000, request_bytes=1000, frame_bytes=1000), too_large=too_large
    )
    tracemalloc.start()
    requests.feed(b'{"requests":[')
    for start in range(0, 100_000, 1000):
        some = ",".join(
            f'{{"custom_id":"{n:064}","params":{{}}}}' for n in range(start, start + 1000)
        )
        requests.feed(some.encode() + (b"," if start < 99_000 else b"]}"))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    requests.fields()
    assert requests.count == 100_000
    assert kept < 16 << 20


async def test_a_create_in_a_thousand_pieces_is_one_batch(gateway):
    """As a slow client sends it."""

    async def pieces():
        whole = body(*(request_of(str(n)) for n in range(20)))
        for at in range(0, len(whole), 50):
            yield whole[at : at + 50]
            await turn()

    answer = await gateway.call("POST", PATH, data=pieces())
    stored = await gateway.store.get_batch(own(answer.json))

    assert stored.requests == 20
