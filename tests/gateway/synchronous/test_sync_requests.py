"""The body of a call, split into its requests."""

from __future__ import annotations

import json

import pytest

from batchline.errors import Invalid, RequestTooLarge
from gateway.synchronous.requests import split


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"requests":[{}]}', [b"{}"]),
        (b'{"requests" : [ {"a": [1, 2]} ,\n "x" ] , "more": 1}', [b'{"a": [1, 2]}', b'"x"']),
        (b'{"requests":["{\\"a\\":\\"]\\"}", 1e999]}', [b'"{\\"a\\":\\"]\\"}"', b"1e999"]),
        (b'{"\\u0072equests":[null]}', [b"null"]),
        (
            b'{"requests":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
            [b"[" * 100_000 + b"]" * 100_000],
        ),
    ],
    ids=["one", "blanks", "strings", "escaped name", "deep"],
)
def test_each_request_comes_as_it_was_sent(body, found):
    """Good or bad, whatever else the body holds."""
    assert split(body, most=10) == found


def test_a_long_request_is_put_together():
    """It is longer than the splitter holds at a time."""
    texts = [json.dumps({"x": "y" * size}).encode() for size in (10, 300_000, 20)]

    found = split(b'{"requests":[' + b",".join(texts) + b"]}", most=10)

    assert found == texts


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "was not one"),
        (b"[{}]", "was not one"),
        (b"{nope", "was not one"),
        (b'{"requests":[{}]', "was not one"),
        (b'{"requests":[{}]} x', "was not one"),
        (b'{"requests":[{},]}', "nothing between two commas"),
        (b'{"a":1}', "Missing required parameter: 'requests'"),
        (b'{"requests":{"a":1}}', "expected an array, but got an object"),
        (b'{"requests":null}', "expected an array, but got null"),
        (b'{"requests":[]}', "empty array"),
        (b'{"requests":[1],"requests":[2]}', "twice"),
    ],
)
def test_what_is_no_call_is_refused(body, said):
    """And it is said why."""
    with pytest.raises(Invalid, match=said):
        split(body, most=10)


@pytest.mark.parametrize("sent", [11, 1_000_000])
def test_too_many_requests_are_refused(sent):
    """With the bound, the setting and the remedy."""
    with pytest.raises(Invalid, match=r"maximum length 10.*BATCHLINE_SYNC_MAX_REQUESTS") as caught:
        split(b'{"requests":[' + b",".join([b"0"] * sent) + b"]}", most=10)

    assert (caught.value.param, caught.value.code) == ("requests", "array_above_max_length")


def test_long_fields_beside_the_requests_are_refused():
    """They would be held for nothing."""
    with pytest.raises(RequestTooLarge, match="beside 'requests'"):
        split(b'{"x":"' + b"y" * 70_000 + b'","requests":[{}]}', most=10)
