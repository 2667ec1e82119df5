"""The responses of a call."""

from __future__ import annotations

import json

import pytest

from batchline.model import Fault
from gateway.synchronous.reading import Asked, Refused
from gateway.synchronous.responses import Outcome, answered, pieces, size_bytes, unanswered


def asked(*, is_text=False, custom_id="a"):
    return Asked(is_text, custom_id, "/v1/chat/completions", b"{}")


def whole(responses):
    """The answer as a client reads it."""
    text = b"".join(pieces(responses))
    assert len(text) == size_bytes(responses)
    return json.loads(text)["responses"]


@pytest.mark.parametrize("is_text", [False, True])
def test_a_response_is_a_line_of_a_result_file(is_text):
    """In the form of its request."""
    body = b'{"x": 1.50,\n "y": "\xe2\x80\xa8\\n"}'

    response = answered(asked(is_text=is_text), "r-1", status=418, upstream_id="u-1", body=body)

    (found,) = whole([response])
    assert isinstance(found, str) is is_text
    assert b"1.50" in response.text
    assert (json.loads(found) if is_text else found) == {
        "id": "r-1",
        "custom_id": "a",
        "response": {"status_code": 418, "request_id": "u-1", "body": {"x": 1.5, "y": "\u2028\n"}},
        "error": None,
    }


def test_a_request_without_an_answer_has_an_error():
    """And a null where the answer would be; the id is null where none was given."""
    refused = Refused(False, None, Fault("c", "m"))

    (found,) = whole([unanswered(refused, "r-1", Outcome.REFUSED, code="c", message="m")])

    error = {"code": "c", "message": "m"}
    assert found == {"id": "r-1", "custom_id": None, "response": None, "error": error}


@pytest.mark.parametrize("count", [1, 2, 3000])
def test_responses_keep_their_order(count):
    """Many short ones go together, and none is sent in pieces that are too small."""
    responses = [
        answered(asked(custom_id=str(n)), "r", status=200, upstream_id="u", body=b"{}")
        for n in range(count)
    ]

    assert [one["custom_id"] for one in whole(responses)] == [str(n) for n in range(count)]
    assert len(list(pieces(responses))) == 1 + size_bytes(responses) // 131_072
