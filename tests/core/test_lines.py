"""Result lines: OpenAI's form, spliced from raw bytes, safe for every reader."""

from __future__ import annotations

import json

import pytest

from batchline.jsonl.request_lines import decode_requests
from batchline.jsonl.result_lines import answer_record, error_record

HOSTILE = 'a\u2028b\u2029c\x85d"e\\f\x1cg\x0bh\x0ci\r\nj\t\x00k\x7f😀'


def answered(custom_id="id", body=b"{}"):
    return answer_record("batch_req_1", custom_id, status=200, upstream_id="up-1", body=body)


@pytest.mark.spec("6-four-keys", "6-response-keys", "6-body-as-answered")
def test_an_answer_has_all_four_keys_and_the_body_untouched():
    """The body's bytes stand in the line as they came."""
    body = b'{"n": 123456789012345678901234567890, "f": 1.10, "s": "\\u00e9"}'

    record = answered(body=body)

    assert body in record
    assert json.loads(record) == {
        "id": "batch_req_1",
        "custom_id": "id",
        "response": {"status_code": 200, "request_id": "up-1", "body": json.loads(body)},
        "error": None,
    }


@pytest.mark.spec("6-four-keys")
def test_an_error_has_no_response():
    """Form 2 of the Batch guide."""
    record = error_record("batch_req_1", "id", code="batch_expired", message="Too late.")

    assert json.loads(record) == {
        "id": "batch_req_1",
        "custom_id": "id",
        "response": None,
        "error": {"code": "batch_expired", "message": "Too late."},
    }


@pytest.mark.spec("6-splitlines-safe")
@pytest.mark.parametrize("where", ["custom_id", "body", "message", "upstream_id"])
def test_a_record_is_one_line_for_every_splitter(where):
    """str.splitlines() cuts at eight characters; none may stand raw in a line."""
    text = json.dumps({"s": HOSTILE}, ensure_ascii=False, indent=2).encode()
    record = {
        "custom_id": lambda: answered(custom_id=HOSTILE),
        "body": lambda: answered(body=text),
        "message": lambda: error_record("r", "id", code="c", message=HOSTILE),
        "upstream_id": lambda: answer_record(
            "r", "id", status=200, upstream_id=HOSTILE, body=b"{}"
        ),
    }[where]()

    assert record.endswith(b"\n")
    assert len(record.decode().splitlines()) == 1
    assert _holds(json.loads(record), HOSTILE)


def _holds(value, text):
    if isinstance(value, dict):
        return any(_holds(v, text) for v in value.values())
    return value == text


def test_requests_are_decoded_with_their_raw_bodies():
    """Blank lines, CRLF and a BOM are no requests."""
    data = b'\xef\xbb\xbf{"custom_id": "a", "body": {"x":  1}}\r\n\n{"custom_id": "b", "body": {}}'

    found = decode_requests(data)

    assert [(r.custom_id, bytes(r.body)) for r in found] == [("a", b'{"x":  1}'), ("b", b"{}")]


def test_a_request_id_that_is_no_text_is_replaced():
    """Header bytes outside UTF-8 come as lone surrogates; the line goes out all the same."""
    record = answer_record("r", "id", status=200, upstream_id="a\udcffb", body=b"{}")

    assert json.loads(record)["response"]["request_id"] == "a?b"
