"""Lines for the audio endpoints: a file by its URL, and the other fields of the form."""

from __future__ import annotations

import json

import pytest

from batchline.jsonl.audio_lines import read_audio_request
from batchline.jsonl.line_check import Rules, body_faults, examine
from batchline.outbound.media_urls import MediaRules

ENDPOINT = "/v1/audio/transcriptions"
URL = "https://media.example.org/a.wav"
MISSING, INVALID = "missing_required_parameter", "invalid_request"


def faults(endpoint=ENDPOINT, **fields):
    """Check a line whose body has these fields; return code, param and message of each fault."""
    body = {key: value for key, value in ({"model": "m"} | fields).items() if value is not ...}
    line = {"custom_id": "a", "method": "POST", "url": endpoint, "body": body}
    rules = Rules(endpoint, media=MediaRules(("media.example.org",)))
    found = examine(json.dumps(line).encode(), rules)
    assert body_faults(json.dumps(body).encode(), rules) == found.faults
    return [(fault.code, fault.param, fault.message) for fault in found.faults]


@pytest.mark.parametrize("endpoint", [ENDPOINT, "/v1/audio/translations"])
def test_a_good_line(endpoint):
    """With the fields of OpenAI's and vLLM's forms."""
    fields = {
        "language": "de",
        "temperature": 0.2,
        "response_format": "verbose_json",
        "timestamp_granularities": ["word"],
        "stream": False,
        "vllm_xargs": {"a": 1},
        "file": None,
    }
    assert faults(endpoint, file_url=URL, **fields) == []
    assert faults(endpoint, file_url="data:audio/wav;base64,AAAA") == []


FAULTS = {
    "no file": ({"file_url": ...}, MISSING, "body.file_url", "'file_url'"),
    "no text": ({"file_url": 7}, INVALID, "body.file_url", "expected a string"),
    "null": ({"file_url": None}, INVALID, "body.file_url", "expected a string"),
    "another host": ({"file_url": "https://x.example/a"}, INVALID, "body.file_url", "MEDIA_HOSTS"),
    "a file in the line": ({"file": "AAAA"}, INVALID, "body.file", "Name it in 'file_url'"),
    "text": ({"response_format": "text"}, INVALID, "body.response_format", "results are JSON"),
    "a number as format": ({"response_format": 1}, INVALID, "body.response_format", "are JSON"),
    "streamed": ({"stream": True}, "streaming_unsupported", "body.stream", "not supported"),
    "no model": ({"model": ...}, MISSING, "body.model", "'model'"),
    "many fields": ({f"f{n}": n for n in range(101)}, INVALID, "body", "more than 100 fields"),
    "a long array": ({"a": [1] * 101}, INVALID, "body", "more than 100 fields"),
}


@pytest.mark.parametrize(("fields", "code", "param", "message"), FAULTS.values(), ids=FAULTS)
def test_each_fault_is_named(fields, code, param, message):
    """With its field, and what to do."""
    ((found, where, told),) = faults(**{"file_url": URL} | fields)

    assert (found, where) == (code, param)
    assert message in told


def test_all_faults_of_a_line_are_named_at_once():
    """So that one round mends them."""
    found = faults(file_url="ftp://x", file="a", response_format="srt")

    assert [param for _, param, _ in found] == [
        "body.file_url",
        "body.file",
        "body.response_format",
    ]


def test_what_becomes_of_each_kind_of_field():
    """Texts stay, arrays become one field an entry, null none, the rest its JSON."""
    body = (
        b'{"model": "m", "file_url": "u", "prompt": "\\u00e9\\ud800", "temperature": 1e-400, "n": null, '
        b'"timestamp_granularities": ["word", "segment"], "a[]": [1], "none": [], "stream": false, '
        b'"vllm_xargs": {"b": [1]}, "file": "x"}'
    )
    request = read_audio_request(body)

    assert request.file_url == "u"
    assert request.fields == (
        ("model", "m"),
        ("prompt", "é\ufffd"),
        ("temperature", "1e-400"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
        ("a[]", "1"),
        ("stream", "false"),
        ("vllm_xargs", '{"b": [1]}'),
    )


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"file_url": 1}', b"{}"])
def test_what_is_no_such_body_is_told(body):
    """A stored line that an older version accepted fails by itself."""
    with pytest.raises(ValueError, match=r"."):
        read_audio_request(body)
