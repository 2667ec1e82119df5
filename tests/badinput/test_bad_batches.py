"""The body of `POST /v1/batches`: every field, every wrong type, every hostile JSON."""

from __future__ import annotations

import json

import pytest
from wire import Case, check_refusal, json_request

GOOD = {"endpoint": "/v1/embeddings", "completion_window": "24h"}
NO_JSON = {
    "nothing": b"",
    "white space": b" \n",
    "a word": b"nonsense",
    "half an object": b'{"endpoint"',
    "half a string": b'{"endpoint": "/v1',
    "a trailing comma": b'{"a": 1,}',
    "two objects": b"{} {}",
    "single quotes": b"{'a': 1}",
    "a comment": b"{} // yes",
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": Infinity}',
    "a leading zero": b'{"a": 01}',
    "a plus sign": b'{"a": +1}',
    "a bare key": b"{a: 1}",
    "a raw line end in a string": b'{"a": "\n"}',
    "a raw NUL": b'{"a": "\x00"}',
    "a NUL behind": b"{}\x00",
    "a bad escape": b'{"a": "\\x"}',
    "half an escape": b'{"a": "\\u12"}',
    "a lone surrogate": b'{"input_file_id": "\\ud800"}',
    "a lone surrogate as key": b'{"\\udc00": 1}',
    "invalid UTF-8": b'{"a": "\xff"}',
    "an encoded surrogate": b'{"a": "\xed\xa0\x80"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-32": '{"a": 1}'.encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "Latin-1": '{"a": "é"}'.encode("latin-1"),
    "an array": b"[]",
    "a string": b'"x"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
    "an open nest": b"[" * 100_000,
    "a deep nest": b"[" * 100_000 + b"]" * 100_000,
    "a deep nest of objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a form": b"endpoint=/v1/embeddings&completion_window=24h",
    "XML": b"<batch/>",
}


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
@pytest.mark.parametrize("key", [[], ["Idempotency-Key: k"]], ids=["plain", "once"])
def test_a_body_that_is_no_object_is_refused(server, body, key):
    """With OpenAI's words, and where it went wrong."""
    case = Case(json_request(body, *key), 400, "^We could not parse the JSON body of your request")

    server.refuses(case)


FIELDS = {
    "input_file_id absent": ("input_file_id", ..., "missing_required_parameter", "Missing"),
    "input_file_id null": ("input_file_id", None, "invalid_type", "a string, but got null"),
    "input_file_id a number": ("input_file_id", 1, "invalid_type", "got an integer"),
    "input_file_id an array": ("input_file_id", ["x"], "invalid_type", "got an array"),
    "input_file_id an object": ("input_file_id", {}, "invalid_type", "got an object"),
    "input_file_id true": ("input_file_id", True, "invalid_type", "got a boolean"),
    "endpoint absent": ("endpoint", ..., "missing_required_parameter", "'endpoint'"),
    "endpoint null": ("endpoint", None, "invalid_type", "got null"),
    "endpoint a number": ("endpoint", 1.5, "invalid_type", "got a decimal"),
    "endpoint empty": ("endpoint", "", "invalid_value", "Supported values are: '/v1/"),
    "endpoint unknown": ("endpoint", "/v1/videos", "invalid_value", "'/v1/videos'"),
    "endpoint with a slash": ("endpoint", "/v1/embeddings/", "invalid_value", "Supported"),
    "endpoint in capitals": ("endpoint", "/V1/EMBEDDINGS", "invalid_value", "Supported"),
    "endpoint with a query": ("endpoint", "/v1/embeddings?a=b", "invalid_value", "Supported"),
    "endpoint of a host": (
        "endpoint",
        "http://evil.example/v1/embeddings",
        "invalid_value",
        "Supported",
    ),
    "endpoint with a space": ("endpoint", " /v1/embeddings", "invalid_value", "Supported"),
    "endpoint endless": ("endpoint", "/v1/" + "a" * 90_000, "invalid_value", "Supported"),
    "endpoint with NUL": ("endpoint", "/v1/embeddings\x00", "invalid_value", "Supported"),
    "window absent": ("completion_window", ..., "missing_required_parameter", "Missing"),
    "window null": ("completion_window", None, "invalid_type", "got null"),
    "window a number": ("completion_window", 24, "invalid_type", "got an integer"),
    "window empty": ("completion_window", "", "invalid_value", "Supported values are: '24h'"),
    "window without unit": ("completion_window", "24", "invalid_value", "'24h'"),
    "window in capitals": ("completion_window", "24H", "invalid_value", "'24h'"),
    "window spaced": ("completion_window", " 24h", "invalid_value", "'24h'"),
    "window with a line end": ("completion_window", "24h\n", "invalid_value", "'24h'"),
    "window zero": ("completion_window", "0h", "invalid_value", "'24h'"),
    "window negative": ("completion_window", "-1h", "invalid_value", "'24h'"),
    "window a decimal": ("completion_window", "1.5h", "invalid_value", "'24h'"),
    "window too long": ("completion_window", "15d", "invalid_value", "to '14d'"),
    "window just too long": ("completion_window", "337h", "invalid_value", "to '14d'"),
    "window far too long": ("completion_window", "9" * 400 + "h", "invalid_value", "'14d'"),
    "window not ASCII": ("completion_window", "２４h", "invalid_value", "'24h'"),
    "window in weeks": ("completion_window", "1w", "invalid_value", "hours or days"),
    "metadata a string": ("metadata", "x", "invalid_type", "expected an object"),
    "metadata an array": ("metadata", [], "invalid_type", "expected an object"),
    "metadata a number": ("metadata", 0, "invalid_type", "expected an object"),
    "metadata false": ("metadata", False, "invalid_type", "expected an object"),
    "metadata of 17": (
        "metadata",
        {str(n): "x" for n in range(17)},
        "object_above_max_properties",
        "at most 16 properties, but got an object with 17",
    ),
    "metadata of 9,000": (
        "metadata",
        {str(n): "x" for n in range(9000)},
        "object_above_max_properties",
        "at most 16",
    ),
    "metadata with a long key": (
        "metadata",
        {"k" * 65: "x"},
        "property_name_above_max_length",
        "maximum length 64",
    ),
    "metadata with an endless key": (
        "metadata",
        {"k" * 90_000: "x"},
        "property_name_above_max_length",
        "maximum length 64",
    ),
    "expiry a string": ("output_expires_after", "x", "invalid_type", "expected an object"),
    "expiry a number": ("output_expires_after", 3600, "invalid_type", "expected an object"),
    "expiry an array": ("output_expires_after", [], "invalid_type", "expected an object"),
}


@pytest.mark.parametrize(("name", "value", "code", "says"), FIELDS.values(), ids=FIELDS)
def test_a_field_that_is_wrong_is_named(server, stored, name, value, code, says):
    """By param and code, with what is allowed."""
    fields = {"input_file_id": stored} | GOOD | {name: value}
    body = {k: v for k, v in fields.items() if v is not ...}

    server.refuses(Case(json_request(body), 400, says, name, code))


VALUES = {
    "null": (None, "invalid_type", "got null"),
    "a number": (1, "invalid_type", "got an integer"),
    "an array": (["x"], "invalid_type", "got an array"),
    "an object": ({}, "invalid_type", "got an object"),
    "true": (True, "invalid_type", "got a boolean"),
    "too long": ("x" * 513, "string_above_max_length", "maximum length 512"),
    "too long in emojis": ("😀" * 513, "string_above_max_length", "with length 513"),
    "endless": ("x" * 90_000, "string_above_max_length", "with length 90000"),
}


@pytest.mark.parametrize(("value", "code", "says"), VALUES.values(), ids=VALUES)
def test_a_value_of_metadata_that_is_wrong_is_named(server, stored, value, code, says):
    """By its key."""
    body = {"input_file_id": stored, "metadata": {"good": "x", "k": value}} | GOOD

    server.refuses(Case(json_request(body), 400, says, "metadata.k", code))


EXPIRIES = {
    "empty": ({}, "anchor", "missing_required_parameter"),
    "no anchor": ({"seconds": 3600}, "anchor", "missing_required_parameter"),
    "another anchor": ({"anchor": "now", "seconds": 3600}, "anchor", "invalid_value"),
    "anchor null": ({"anchor": None, "seconds": 3600}, "anchor", "invalid_type"),
    "no seconds": ({"anchor": "created_at"}, "seconds", "missing_required_parameter"),
    "seconds null": ({"seconds": None}, "seconds", "invalid_type"),
    "seconds a string": ({"seconds": "3600"}, "seconds", "invalid_type"),
    "seconds a decimal": ({"seconds": 3600.5}, "seconds", "invalid_type"),
    "seconds true": ({"seconds": True}, "seconds", "invalid_type"),
    "too soon": ({"seconds": 3599}, "seconds", "integer_below_min_value"),
    "negative": ({"seconds": -1}, "seconds", "integer_below_min_value"),
    "too late": ({"seconds": 2592001}, "seconds", "integer_above_max_value"),
    "astronomic": ({"seconds": 10**300}, "seconds", "integer_above_max_value"),
}


@pytest.mark.parametrize(("given", "name", "code"), EXPIRIES.values(), ids=EXPIRIES)
def test_an_expiry_that_is_wrong_is_named(server, stored, given, name, code):
    """By its path in the body."""
    value = (
        given
        if "anchor" in given or not given or name == "anchor"
        else given | {"anchor": "created_at"}
    )
    body = {"input_file_id": stored, "output_expires_after": value} | GOOD
    param = f"output_expires_after.{name}"

    answer = server.refuses(Case(json_request(body), 400, ".", param, code))

    assert param in answer.error["message"] or "Supported values" in answer.error["message"]


IDS = [
    "",
    "x",
    "file-",
    "file-x" * 9000,
    "\x00",
    "../../etc/passwd",
    "' OR 1=1 --",
    "é",
    "%00",
    "💥",
]


@pytest.mark.parametrize("file_id", IDS, ids=[repr(i)[:20] for i in IDS])
def test_an_input_file_that_does_not_exist_is_refused(server, file_id):
    """At once, as a bad parameter."""
    case = Case(json_request({"input_file_id": file_id} | GOOD), 400, "Cannot find file", "file_id")

    server.refuses(case)


HUGE = {
    "a number of 5,000 digits": b'{"a": %s, "endpoint": 7}' % (b"9" * 5000),
    "a tiny number": b'{"a": 1e-999999, "endpoint": 7}',
    "a huge exponent": b'{"a": 1e999999, "endpoint": 7}',
    "a long unknown field": b'{"a": "%s", "endpoint": 7}' % (b"x" * 900_000),
    "very many fields": json.dumps({str(n): n for n in range(60_000)} | {"endpoint": 7}).encode(),
    "a repeated field": b'{"endpoint": "/v1/embeddings", "endpoint": 7}',
    "a nest of some depth": b'{"a": ' + b"[" * 500 + b"]" * 500 + b', "endpoint": 7}',
}


@pytest.mark.parametrize("body", HUGE.values(), ids=HUGE)
@pytest.mark.parametrize("key", [[], ["Idempotency-Key: k2"]], ids=["plain", "once"])
def test_what_is_huge_or_repeated_is_no_way_around_the_checks(server, body, key):
    """Either it is no JSON to us, or the bad field behind it is found."""
    answer = server.ask(json_request(body, *key))

    error = answer.error
    check_refusal(answer, Case(b"", 400, ".", error["param"], error["code"]))
    assert error["code"] in {None, "missing_required_parameter", "invalid_type"}


def test_a_body_above_the_limit_is_a_413(server):
    """Announced or not."""
    body = b" " * ((1 << 20) + 1)
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)

    server.refuses(Case(json_request(body), 413, "The limit is 1048576 bytes"))
    server.refuses(
        Case(
            json_request(b"", "Transfer-Encoding: chunked") + chunked,
            413,
            "The limit is 1048576 bytes",
        )
    )


BODIES_OF_CANCEL = [b"", b"{}", b"nonsense", b"[" * 100_000, b"\x00", b'{"status": "completed"}']


@pytest.mark.parametrize("body", BODIES_OF_CANCEL, ids=[repr(b)[:20] for b in BODIES_OF_CANCEL])
@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_what_takes_no_body_does_not_care_for_one(server, body, verb):
    """SDKs send a JSON type and nothing; an unknown batch is a 404 whatever comes with it."""
    sent = json_request(body, target=f"/v1/batches/batch_x/{verb}")

    server.refuses(Case(sent, 404, "No batch found with id 'batch_x'"))
