"""One request of a call: read, filled, refused."""

from __future__ import annotations

import json

import pytest

from batchline.jsonl.body_rules import HIGHEST_BY_DEFAULT, REFUSED_BY_DEFAULT, BodyRules
from gateway.synchronous.reading import Asked, Refused, read, with_model

RULES = BodyRules(REFUSED_BY_DEFAULT, HIGHEST_BY_DEFAULT)
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
BODY = '{"model": "m", "messages":[] , "seed": 12345678901234567890123, "x": 1.50}'


def both(text):
    """Both forms of one request."""
    return [text.encode(), json.dumps(text).encode()]


@pytest.mark.parametrize("is_text", [False, True])
def test_a_whole_request_goes_on_byte_for_byte(is_text):
    """In either form."""
    line = f'{{"custom_id": "é", "method": "POST", "url": "{CHAT}", "body": {BODY}}}'

    asked = read(both(line)[is_text], RULES)

    assert asked == Asked(is_text, "é", CHAT, BODY.encode())


@pytest.mark.parametrize(
    "line",
    [
        f'{{"body": {BODY}}}',
        f'{{"custom_id": null, "method": null, "url": null, "body": {BODY}, "more": []}}',
    ],
)
def test_all_but_the_body_may_be_absent(line):
    """Null means that, too."""
    assert read(line.encode(), RULES) == Asked(False, None, CHAT, BODY.encode())


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ('"messages": []', CHAT),
        ('"prompt": "x"', CHAT),
        ('"input": "x"', EMBEDDINGS),
        ('"text": "x"', EMBEDDINGS),
        ('"query": "x", "documents": []', "/v1/rerank"),
        ('"text_1": "x", "text_2": "y"', "/v1/score"),
        ('"x": 1', CHAT),
    ],
)
def test_a_request_without_a_url_goes_where_its_body_belongs(fields, path):
    """A chat, where nothing tells."""
    assert read(f'{{"body": {{"model": "m", {fields}}}}}'.encode(), RULES).path == path


@pytest.mark.parametrize(
    ("url", "sent", "goes"),
    [
        (
            CHAT,
            '{"prompt": "Hello, \\u00e9!", "n": 1.50}',
            {"messages": [{"role": "user", "content": "Hello, é!"}], "n": 1.5},
        ),
        (CHAT, '{"prompt": "a", "messages": []}', {"prompt": "a", "messages": []}),
        ("/v1/completions", '{"prompt": "a"}', {"prompt": "a"}),
        (EMBEDDINGS, '{"text": ["a", "b"]}', {"input": ["a", "b"]}),
        (EMBEDDINGS, '{"text": "a", "input": "b"}', {"text": "a", "input": "b"}),
        (
            "/v1/responses",
            '{"text": {"format": 1}, "input": "b"}',
            {"text": {"format": 1}, "input": "b"},
        ),
    ],
)
def test_short_forms_become_what_servers_understand(url, sent, goes):
    """A prompt is one message of a user, a text is an input; nothing else changes."""
    asked = read(f'{{"url": "{url}", "body": {sent}}}'.encode(), RULES)

    assert json.loads(asked.body) == goes
    assert asked.lacks_model


def test_values_of_a_filled_body_keep_their_digits():
    """They are nobody's business."""
    asked = read(b'{"body": {"prompt": "a", "seed": 12345678901234567890123, "t": 1.50}}', RULES)

    named = with_model(asked, ["org/m"])

    assert b'"seed":12345678901234567890123' in named.body
    assert b'"t":1.50' in named.body
    assert json.loads(named.body)["model"] == "org/m"
    assert not named.lacks_model


@pytest.mark.parametrize("model", ["", '"model": null, '])
@pytest.mark.parametrize(
    ("served", "said"),
    [
        (["b", "a"], "Name one of those that are served: 'a', 'b'."),
        ([], "Name one: no model server"),
    ],
)
def test_a_model_that_is_not_plain_is_asked_for(model, served, said):
    """Where several are served, or none."""
    asked = read(f'{{"custom_id": "a", "body": {{{model}"prompt": "a"}}}}'.encode(), RULES)

    refused = with_model(asked, served)

    assert (refused.custom_id, refused.fault.param) == ("a", "body.model")
    assert refused.fault.code == "missing_required_parameter"
    assert said in refused.fault.message


@pytest.mark.parametrize("is_text", [False, True])
@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        ('{"custom_id": 7, "body": {}}', "invalid_type", "custom_id"),
        (f'{{"custom_id": "{"x" * 1025}", "body": {{}}}}', "string_above_max_length", "custom_id"),
        ('{"method": "GET", "body": {}}', "invalid_value", "method"),
        ('{"method": 1, "body": {}}', "invalid_type", "method"),
        ('{"url": "/v1/files", "body": {}}', "invalid_value", "url"),
        ('{"url": "/v1/audio/transcriptions", "body": {}}', "invalid_value", "url"),
        ('{"url": [], "body": {}}', "invalid_type", "url"),
        ("{}", "missing_required_parameter", "body"),
        ('{"body": "{}"}', "invalid_type", "body"),
        ('{"body": {"stream": true}}', "streaming_unsupported", "body.stream"),
        ('{"body": {"n": 129}}', "integer_above_max_value", "body.n"),
        ('{"body": {"chat_template": "x"}}', "unsupported_parameter", "body.chat_template"),
        ('{"body": {"prompt": ["a"]}}', "invalid_type", "body.prompt"),
        ("[]", "invalid_request", None),
        ("7", "invalid_request", None),
        ('{"body": {"x": nope}}', "invalid_request", None),
        ('{"body": {"x": ' + "[" * 100_000 + "]" * 100_000 + "}}", "invalid_request", None),
        ('{"method": ' + "[" * 100_000 + "]" * 100_000 + ', "body": {}}', "invalid_request", None),
        ('{"body": {"x": "\\ud800"}}', "invalid_request", None),
        ('{"url": ' + "9" * 100_000 + ', "body": {}}', None, None),
        ('{"method": 1e999999, "body": {}}', None, None),
        ('{"body": {"n": ' + "9" * 100_000 + "}}", "integer_above_max_value", "body.n"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_is_one_requests_fault(line, code, param, is_text):
    """With a code and the field, in either form, however it is written."""
    refused = read(both(line)[is_text], RULES)

    assert isinstance(refused, Refused)
    assert refused.is_text is is_text
    assert code in (refused.fault.code, None)
    assert param in (refused.fault.param, None)
    assert len(refused.fault.message) < 500


@pytest.mark.parametrize("text", [b'"', b'"\\ud800"', b'"\xff"', b"nope", b"", b"\xff\xfe"])
def test_what_is_no_json_is_refused(text):
    """A string that ends early, a half of a pair, bytes that are no text."""
    assert read(text, RULES).fault.code == "invalid_request"


def test_the_custom_id_of_a_bad_request_is_kept():
    """So that its response is found by it."""
    assert read(b'{"custom_id": "a", "url": "/nope", "body": {}}', RULES).custom_id == "a"
