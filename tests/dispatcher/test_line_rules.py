"""Batches in which a bad line fails alone: each line that is bad has its error, every other its answer."""

from __future__ import annotations

import json

import pytest

from batchline.jsonl.body_rules import BodyRules
from batchline.jsonl.line_check import Rules, body_faults
from batchline.states import BatchStatus, OnFaults

MESSAGES = "/v1/messages"
GOOD = {"model": "m", "max_tokens": 5, "messages": []}
RULES = Rules(MESSAGES, body=BodyRules(refused=("chat_template",), highest=(("n", 4),)))

BAD = {
    "no model": ({"max_tokens": 5, "messages": []}, "missing_required_parameter", "model"),
    "a model that is none": (GOOD | {"model": 7}, "invalid_request", "model"),
    "no messages": ({"model": "m", "max_tokens": 5}, "missing_required_parameter", "messages"),
    "no max_tokens": ({"model": "m", "messages": []}, "missing_required_parameter", "max_tokens"),
    "max_tokens of 0": (GOOD | {"max_tokens": 0}, "integer_below_min_value", "max_tokens"),
    "a stream": (GOOD | {"stream": True}, "streaming_unsupported", "stream"),
    "a refused field": (GOOD | {"chat_template": "x"}, "unsupported_parameter", "chat_template"),
    "too many": (GOOD | {"n": 5}, "integer_above_max_value", "n"),
}


def line(number, body):
    text = body if isinstance(body, str) else json.dumps(body)
    return f'{{"custom_id":"{number}","method":"POST","url":"{MESSAGES}","body":{text}}}'


@pytest.mark.parametrize(("body", "code", "param"), BAD.values(), ids=BAD)
def test_what_is_wrong_with_a_body(body, code, param):
    """The same faults as where a whole file is checked."""
    assert [
        (fault.code, fault.param) for fault in body_faults(json.dumps(body).encode(), RULES)
    ] == [(code, f"body.{param}")]


@pytest.mark.parametrize("body", [b'{"model":"m\xff"}', b'{"x":' + b"[" * 99_999, b"{"])
def test_a_body_that_is_no_text_or_no_json(body):
    """Nothing breaks on it."""
    assert [fault.code for fault in body_faults(body, RULES)] == ["invalid_json_line"]


def test_a_good_body_has_no_fault():
    """Whatever else it holds; half a surrogate pair is the model server's to judge."""
    for more in (b"", b',"stream":false', b',"n":4', b',"x":"\\ud800"', b',"chat_template":null'):
        body = json.dumps(GOOD).encode()[:-1] + more + b"}"
        assert body_faults(body, RULES) == ()


async def test_bad_lines_fail_alone_and_are_not_sent(bench, upstream):
    """The batch completes: each line is in one of the files, in its place."""
    bodies = [GOOD | {"tag": "a"}, *(body for body, _, _ in BAD.values()), GOOD | {"tag": "b"}]
    content = "\n".join(line(n, body) for n, body in enumerate(bodies))
    batch = await bench.submit(
        content, endpoint=MESSAGES, on_faults=OnFaults.FAIL_LINES, requests=len(bodies)
    )
    async with bench.running(refused_fields="chat_template", highest_values="n=4"):
        ended = await bench.ended(batch)
        output, errors = await bench.results(ended)

    assert (ended.status, ended.model) == (BatchStatus.COMPLETED, "m")
    assert (ended.counts.completed, ended.counts.failed) == (2, len(BAD))
    assert [found["custom_id"] for found in output] == ["0", str(len(bodies) - 1)]
    assert [found["response"]["status_code"] for found in errors] == [400] * len(BAD)
    assert [found["response"]["body"]["error"]["code"] for found in errors] == [
        code for _, code, _ in BAD.values()
    ]
    assert set(upstream.seen) == {"a", "b"}
    assert ended.usage.input_tokens == 14


async def test_a_batch_of_bad_lines_alone_completes(bench, upstream):
    """More of them than a slice, or a queue, holds."""
    content = "\n".join(line(n, {}) for n in range(1000))
    batch = await bench.submit(content, endpoint=MESSAGES, on_faults=OnFaults.FAIL_LINES)
    async with bench.running():
        ended = await bench.ended(batch)
        _, errors = await bench.results(ended)

    assert (ended.status, ended.counts.failed) == (BatchStatus.COMPLETED, 1000)
    assert [found["custom_id"] for found in errors] == [str(n) for n in range(1000)]
    assert not upstream.seen


async def test_other_batches_fail_as_a_whole(bench, upstream):
    """As at OpenAI."""
    batch = await bench.submit("\n".join([line(0, GOOD), line(1, {})]), endpoint=MESSAGES)
    async with bench.running():
        ended = await bench.ended(batch)

    assert ended.status is BatchStatus.FAILED
    assert not upstream.seen


async def test_what_is_wrong_with_the_whole_file_fails_the_batch(bench, upstream):
    """Too many lines, or one that is too long: whoever counted them had other limits."""
    content = "\n".join(line(n, GOOD) for n in range(3))
    batch = await bench.submit(content, endpoint=MESSAGES, on_faults=OnFaults.FAIL_LINES)
    async with bench.running(max_lines=2):
        ended = await bench.ended(batch)

    assert [fault.code for fault in ended.faults] == ["too_many_tasks"]
    assert not upstream.seen
