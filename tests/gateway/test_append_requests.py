"""The body of an append, split into requests: wherever its chunks end, in time that grows with its bytes alone."""

from __future__ import annotations

import json
import time
from itertools import chain

import pytest

from batchline.errors import Invalid
from gateway.appends.requests import JsonRequests, RequestLines

LINE_BYTES = 1 << 20


class TooLarge(Exception):
    """What lies around the requests is."""


def of_json():
    return JsonRequests(line_bytes=LINE_BYTES, frame_bytes=1000, too_large=TooLarge)


def of_lines():
    return RequestLines(line_bytes=LINE_BYTES)


def split(requests, body, size):
    """Feed the body in chunks of this size; return (place, text) of each request."""
    found = []
    for start in range(0, len(body), size):
        found += requests.feed(body[start : start + size])
    return [(one.where.text, one.text) for one in (*found, *requests.finish())]


REQUESTS = [{"custom_id": "a", "body": {"x": 'é "}],\\'}}, {}, {"y": [1, {"z": "\\u0000"}]}]
JSON = json.dumps({"n": [1], "requests": REQUESTS, "m": 1}, ensure_ascii=False, indent=1).encode()
LINES = b"\xef\xbb\xbf{}\r\n\n  \n" + b"\n".join(json.dumps(one).encode() for one in REQUESTS)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_chunks_may_end_anywhere(size):
    """Requests are the same, and each is one line."""
    of_array = split(of_json(), JSON, size)
    assert [json.loads(text) for _, text in of_array] == REQUESTS
    assert [where for where, _ in of_array] == [f"Invalid 'requests[{n}]'" for n in range(3)]
    assert not any(b"\n" in text for _, text in of_array)

    of_text = split(of_lines(), LINES, size)
    assert [json.loads(text) for _, text in of_text] == [{}, *REQUESTS]
    assert [where for where, _ in of_text] == ["Line 1", "Line 4", "Line 5", "Line 6"]


@pytest.mark.parametrize(("make", "head"), [(of_json, b'{"requests":["'), (of_lines, b"")])
def test_a_request_without_an_end_is_not_held(make, head):
    """It is refused as soon as it is longer than a line may be."""
    requests = make()
    list(requests.feed(head))

    with pytest.raises(Invalid, match="longer than 1,048,576 bytes"):
        list(chain.from_iterable(requests.feed(b"x" * (1 << 16)) for _ in range(20)))


def test_what_lies_around_the_requests_is_bounded():
    """Fields that nobody reads cannot fill the memory."""
    requests = of_json()

    with pytest.raises(TooLarge):
        list(requests.feed(b'{"a":"' + b"x" * 2000))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (of_json, b'{"requests":[' + b"[" * 300_000),
        (of_json, b'{"requests":["' + b"\\\\" * 150_000 + b'"]}'),
        (of_json, b'{"requests":[' + b"{}," * 100_000 + b"{}]}"),
        (of_lines, b"\n" * 300_000),
        (of_lines, b"{" * 300_000),
    ],
    ids=["brackets", "backslashes", "elements", "newlines", "one line"],
)
def test_time_grows_with_the_bytes_alone(make, text):
    """Chunks of a hundred bytes cost no more than a body of their sum should."""
    began = time.process_time()

    requests = make()
    for start in range(0, len(text), 100):
        list(requests.feed(text[start : start + 100]))

    assert time.process_time() - began < 5
