"""A request for the background becomes the line of a batch, its values as they were sent."""

from __future__ import annotations

import json

import pytest

from batchline.errors import Invalid
from batchline.jsonl.body_rules import BodyRules
from gateway.background.background_request import is_background, read_background_request

RULES = BodyRules(refused=("chat_template",), highest=(("n", 8),))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"background": true}', True),
        (b'{"a": {"background": true}}', False),
        (b'{"background": false}', False),
        (b'{"background": null}', False),
        (b'{"background": 1}', False),
        (b'{"background": "true"}', False),
        (b"{}", False),
        (b'{"background": false, "background": true}', True),
    ],
)
def test_only_true_is_the_background(body, expected):
    assert is_background(body) is expected


def test_the_line_has_each_value_digit_for_digit_and_no_line_break():
    """What decides when to answer is not the model server's matter."""
    body = (
        b'{"model":"m", "background": true, "stream": false,\r\n "input": [1,\n 2],'
        b' "temperature": 0.10000000000000000000001, "seed": 1e400, "text": "a\\nb\xe2\x80\xa8",'
        b' "metadata": {"k": "v"}, "service_tier": "flex"}'
    )

    made = read_background_request(RULES, body)

    assert (made.model, made.metadata) == ("m", {"k": "v"})
    assert made.line.count(b"\n") == 1
    assert made.line.endswith(b"\n")
    assert b"\r" not in made.line
    assert b"0.10000000000000000000001" in made.line
    assert b"1e400" in made.line
    line = json.loads(made.line)
    assert (line["method"], line["url"]) == ("POST", "/v1/responses")
    sent = json.loads(body)
    del sent["background"], sent["stream"]
    assert line["body"] == sent


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"model": None}, "model", "expected a string"),
        ({"model": ...}, "model", "Missing required parameter: 'model'"),
        ({"input": ...}, "input", "Missing required parameter: 'input'"),
        ({"stream": True}, "stream", "cannot be streamed"),
        ({"stream": "yes"}, "stream", "cannot be streamed"),
        ({"store": False}, "store", "'store' must be true"),
        ({"metadata": {"k": 1}}, "metadata.k", "expected a string"),
        ({"metadata": []}, "metadata", "expected an object"),
        ({"chat_template": "{{x}}"}, "chat_template", "Unsupported parameter"),
        ({"n": 9}, "n", "above maximum value"),
    ],
)
def test_what_cannot_be_run_later_is_refused_now(fields, param, says):
    body = {"model": "m", "input": "Hello", "background": True} | fields
    text = json.dumps({name: value for name, value in body.items() if value is not ...}).encode()

    with pytest.raises(Invalid) as refused:
        read_background_request(RULES, text)

    assert refused.value.param == param
    assert says in refused.value.message


@pytest.mark.parametrize(
    "body",
    [b'{"background": true', b'{"a":"x\ny"}', b'{"\\ud800":1}', b"[" * 100_000, b"\xff", b"[]"],
)
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(Invalid, match="We could not parse the JSON body"):
        read_background_request(RULES, body)


def test_however_deep_a_request_is_nested_it_is_taken_or_refused():
    """Each reader has its own limit, near the same depth: none of them may break."""
    refused = 0
    for depth in (10, *range(900, 1030), 100_000):
        nested = b"[" * depth + b"]" * depth
        body = b'{"model":"m","background":true,"input":' + nested + b"}"
        try:
            assert is_background(body)
            read_background_request(RULES, body)
        except Invalid:
            refused += 1

    assert 0 < refused < 132
