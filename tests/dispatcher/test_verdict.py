"""The retry policy as a table: each reply and each break has its verdict."""

from __future__ import annotations

import json

import pytest

from batchline.model import Usage
from dispatcher.upstream import NGINX_GROUP, Break, Broken, Reply
from dispatcher.verdict import (
    FULL_COST,
    Failed,
    NoBackend,
    Reason,
    Retry,
    Succeeded,
    judge,
    parse_retry_after,
)

GOOD = {
    "choices": [{"index": 0}],
    "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
}


def reply(status, body=GOOD, *, retry_after=None, backends=()):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, data, "req", retry_after, backends, 0.1)


CASES = {
    "good": (reply(200), Succeeded),
    "embedding": (reply(200, {"data": [], "usage": {"prompt_tokens": 1}}), Succeeded),
    "error null": (reply(200, GOOD | {"error": None}), Succeeded),
    "html": (reply(200, b"<html>"), Retry),
    "truncated": (reply(200, b'{"choices": ['), Retry),
    "array": (reply(200, b"[]"), Retry),
    "NaN": (reply(200, b'{"x": NaN}'), Succeeded),
    "bad utf-8": (reply(200, b'{"x": "\xff"}'), Retry),
    "error in 200": (reply(200, {"error": {"message": "x"}}), Retry),
    "no choices": (reply(200, {"choices": []}), Retry),
    "redirect": (reply(307), Failed),
    "400": (reply(400, {"error": {"message": "x"}}), Failed),
    "401": (reply(401, {"error": "Unauthorized"}), Failed),
    "404 model": (reply(404, {"error": {"message": "x", "code": 404}}), Failed),
    "404 route": (reply(404, {"detail": "Not Found"}), Failed),
    "413": (reply(413, b"too big"), Failed),
    "500": (reply(500), Retry),
    "502 nginx": (reply(502, backends=("a:1", "b:1")), Retry),
    "502 none": (reply(502, backends=(NGINX_GROUP,)), NoBackend),
    "503 none": (reply(503, backends=(NGINX_GROUP,)), NoBackend),
    "503": (reply(503), Retry),
    "connect": (Broken(Break.CONNECT, "x", 0), NoBackend),
    "too large": (Broken(Break.TOO_LARGE, "x", 0), Failed),
    **{how: (Broken(how, "x", 0), Retry) for how in (Break.RESET, Break.TRUNCATED, Break.TIMEOUT)},
}


@pytest.mark.parametrize(("what", "kind"), CASES.values(), ids=CASES)
def test_each_reply_has_its_verdict(what, kind):
    """The table in the module's docstring."""
    assert isinstance(judge(what, now=0), kind)


@pytest.mark.parametrize("status", range(200, 600))
def test_the_table_is_total(status):
    """Every status of HTTP is judged."""
    assert judge(reply(status), now=0)


def test_each_backend_that_nginx_tried_counts_as_one_send():
    """A poison line is not multiplied by nginx's resend."""
    assert judge(reply(502, backends=("a:1", "b:1")), now=0).cost == 2 * FULL_COST
    assert judge(reply(429, backends=("a:1",)), now=0).cost == 1


@pytest.mark.spec("6-failure-body")
def test_a_foreign_error_body_becomes_an_openai_error():
    """HTML and other shapes never reach the error file."""
    body = json.loads(judge(reply(400, b"<html>"), now=0).result.body)

    assert set(body["error"]) == {"message", "type", "param", "code"}


def test_a_missing_endpoint_says_so():
    """The line's error names the reason."""
    verdict = judge(reply(404, {"detail": "Not Found"}), now=0)

    assert verdict.reason is Reason.ENDPOINT


def test_usage_is_read_in_both_spellings():
    """Chat completions and responses name their tokens differently."""
    responses = {
        "usage": {
            "input_tokens": 4,
            "output_tokens": 6,
            "total_tokens": 10,
            "input_tokens_details": {"cached_tokens": 1},
            "output_tokens_details": {"reasoning_tokens": 2},
        }
    }
    assert judge(reply(200), now=0).usage == Usage(2, 0, 3, 0, 5)
    assert judge(reply(200, responses), now=0).usage == Usage(4, 1, 6, 2, 10)
    assert judge(reply(200, {"usage": {"prompt_tokens": "x"}}), now=0).usage == Usage()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3),
        ("0.5", 0.5),
        ("-4", 0),
        ("99999", 600),
        ("nan", None),
        ("soon", None),
        (None, None),
        ("Thu, 01 Jan 1970 00:00:30 GMT", 20),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    """RFC 9110 §10.2.3, bounded."""
    assert parse_retry_after(value, now=10) == seconds
