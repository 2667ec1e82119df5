"""`/v1/uploads` and the results of batches: bodies, parts, queries."""

from __future__ import annotations

import pytest
from wire import Case, check_refusal, form, json_request, part, request

GOOD = {"filename": "a.jsonl", "purpose": "batch", "bytes": 5, "mime_type": "application/jsonl"}
FIELDS = {
    "filename absent": ("filename", ..., "missing_required_parameter"),
    "filename null": ("filename", None, "invalid_type"),
    "filename a number": ("filename", 7, "invalid_type"),
    "purpose absent": ("purpose", ..., "missing_required_parameter"),
    "purpose unknown": ("purpose", "batch_output", None),
    "purpose a number": ("purpose", 1, "invalid_type"),
    "bytes absent": ("bytes", ..., "missing_required_parameter"),
    "bytes null": ("bytes", None, "invalid_type"),
    "bytes a string": ("bytes", "5", "invalid_type"),
    "bytes a decimal": ("bytes", 5.5, "invalid_type"),
    "bytes true": ("bytes", True, "invalid_type"),
    "bytes negative": ("bytes", -1, "integer_below_min_value"),
    "bytes astronomic": ("bytes", 10**18, "integer_above_max_value"),
    "mime_type absent": ("mime_type", ..., "missing_required_parameter"),
    "mime_type a list": ("mime_type", [], "invalid_type"),
    "expiry a string": ("expires_after", "x", "invalid_type"),
}


@pytest.mark.parametrize(("name", "value", "code"), FIELDS.values(), ids=FIELDS)
def test_an_upload_with_a_wrong_field_is_refused(server, name, value, code):
    """By param and code."""
    body = {k: v for k, v in (GOOD | {name: value}).items() if v is not ...}

    server.refuses(Case(json_request(body, target="/v1/uploads"), 400, ".", name, code))


BODIES = [b"", b"[]", b"nonsense", b"null", b"\xff", b"[" * 100_000, b'{"part_ids": NaN}']


@pytest.mark.parametrize("body", BODIES, ids=[repr(b)[:15] for b in BODIES])
def test_a_body_that_is_no_object_is_refused(server, body):
    """As everywhere."""
    says = "^We could not parse the JSON body of your request"

    server.refuses(Case(json_request(body, target="/v1/uploads"), 400, says))


@pytest.mark.parametrize("verb", ["parts", "complete", "cancel"])
@pytest.mark.parametrize("id_", ["upload_x", "%00", "%ff", "..%2f..", "a" * 5000])
def test_an_unknown_upload_is_a_404(server, id_, verb):
    """Before its body is looked at."""
    answer = server.ask(form(part("data", b"x", "upload"), target=f"/v1/uploads/{id_}/{verb}"))

    check_refusal(answer, Case(b"", 404, ".", answer.error["param"]))


@pytest.fixture(scope="session")
def upload(process):
    """The id of an upload that waits for its parts."""
    return process.ask(json_request(GOOD, target="/v1/uploads")).json["id"]


PARTS = {
    "no form": (b"hello", "application/octet-stream", "multipart/form-data", None),
    "no data": (part("file", b"x", "a"), None, "Missing required parameter: 'data'", "data"),
    "a string": (part("data", b"x"), None, "needs a filename", "data"),
    "empty": (part("data", b"", "upload"), None, "empty", "data"),
}


@pytest.mark.parametrize(("content", "type_", "says", "param"), PARTS.values(), ids=PARTS)
def test_a_part_that_is_none_is_refused(server, upload, content, type_, says, param):
    """And leaves no bytes."""
    target = f"/v1/uploads/{upload}/parts"
    sent = form(content, target=target)
    if type_:
        sent = request("POST", target, f"Content-Type: {type_}", body=content)

    answer = server.ask(sent)

    check_refusal(answer, Case(b"", 400, says, param, answer.error["code"]))


COMPLETIONS = {
    "nothing": ({}, "part_ids"),
    "null": ({"part_ids": None}, "part_ids"),
    "a string": ({"part_ids": "part_x"}, "part_ids"),
    "no part": ({"part_ids": []}, "part_ids"),
    "a number": ({"part_ids": [1]}, "part_ids[0]"),
    "an unknown part": ({"part_ids": ["part_x"]}, "part_ids"),
    "very many": ({"part_ids": ["part_x"] * 50_000}, "part_ids"),
    "a bad digest": ({"part_ids": ["part_x"], "md5": 5}, "md5"),
}


@pytest.mark.parametrize(("body", "param"), COMPLETIONS.values(), ids=COMPLETIONS)
def test_a_completion_that_is_wrong_is_refused(server, upload, body, param):
    """The upload stays as it was."""
    answer = server.ask(json_request(body, target=f"/v1/uploads/{upload}/complete"))

    error = answer.error
    check_refusal(answer, Case(b"", 400, ".", error["param"], error["code"]))
    assert (error["param"] or param).startswith(param.partition("[")[0])


QUERIES = {
    "a word": "after_line=x",
    "negative": "after_line=-1",
    "a decimal": "after_line=1.5",
    "empty": "after_line=",
    "beyond the end": "after_line=1",
    "astronomic": "after_line=" + "9" * 30,
    "endless": "after_line=" + "9" * 3000,
    "NUL": "after_line=%00",
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
@pytest.mark.parametrize("what", ["results", "errors"])
def test_a_place_in_the_results_that_is_none_is_refused(server, created, what, query):
    """The batch has no finished line yet."""
    answer = server.ask(request("GET", f"/v1/batches/{created}/{what}?{query}"))

    check_refusal(answer, Case(b"", 400, "after_line", "after_line", answer.error["code"]))


@pytest.mark.parametrize("value", ["yes", "2", "", "%00", "TRUE1", "x" * 3000])
def test_a_follow_that_is_no_boolean_is_refused(server, created, value):
    """Rather than taken for one."""
    answer = server.ask(request("GET", f"/v1/batches/{created}/results?follow={value}"))

    check_refusal(
        answer, Case(b"", 400, "Supported values are: 'true' and", "follow", answer.error["code"])
    )
