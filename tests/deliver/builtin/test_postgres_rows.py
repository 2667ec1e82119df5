"""What a result becomes in each column."""

from __future__ import annotations

import json

import pytest

from batchline.handlers import Result
from batchline.jsonl.result_lines import answer_record, error_record
from deliver.builtin.postgres_rows import row_of


def answered(body, *, status=200, request=None):
    raw = answer_record("batch_req_x", "c", status=status, upstream_id="u", body=body)
    return row_of("batch_1", Result(4, raw, request))


def test_the_columns_of_a_response_and_of_a_chat_are_filled_alike():
    """OpenAI's two spellings of tokens; a response has no finish reason."""
    said = {"type": "message", "content": [{"type": "output_text", "text": "hello"}]}
    usage = {"input_tokens": 3, "output_tokens": 2}
    body = json.dumps({"model": "m", "output": [said], "usage": usage}).encode()

    row = answered(body)

    assert (row.batch_id, row.custom_id, row.line, row.status_code) == ("batch_1", "c", 4, 200)
    assert (row.text, row.model, row.finish_reason) == ("hello", "m", None)
    assert (row.input_tokens, row.output_tokens) == (3, 2)
    assert (row.error_code, row.error_message, row.request) == (None, None, None)


def test_the_columns_of_a_message_are_filled_too():
    """Anthropic's spelling."""
    said = {"content": [{"type": "text", "text": "hello"}], "stop_reason": "max_tokens"}

    row = answered(json.dumps(said).encode())

    assert (row.text, row.finish_reason) == ("hello", "max_tokens")


def test_a_line_without_an_answer_has_no_response():
    """The error tells why."""
    raw = error_record("batch_req_x", "c", code="batch_expired", message="too late")

    row = row_of("batch_1", Result(0, raw))

    assert (row.status_code, row.response, row.text) == (None, None, None)
    assert (row.error_code, row.error_message) == ("batch_expired", "too late")


@pytest.mark.parametrize(
    "body",
    [
        b"[1, 2]",
        b'{"model": 1, "choices": [{"finish_reason": 2}], "usage": {"prompt_tokens": "x"}}',
        b'{"choices": [3], "usage": {"prompt_tokens": -1, "completion_tokens": 9999999999999999999}}',
        b'{"choices": {}, "usage": []}',
    ],
    ids=["list", "other kinds", "no counts", "no list"],
)
def test_an_answer_of_another_form_is_kept_as_it_is(body):
    """Its columns stay empty; whatever a server answers has its row."""
    row = answered(body)

    assert row.response == body.decode()
    assert (row.model, row.finish_reason) == (None, None)
    assert (row.input_tokens, row.output_tokens) == (None, None)


def test_what_postgresql_does_not_keep_is_replaced_and_nothing_else():
    """NUL and halves of surrogate pairs; a backslash before `u0000` is text, and a long number a number."""
    body = rb'{"a": "\u0000\\u0000\\\u0000\ud83d\ude00\ud800", "b": 1234567890123456789.0123456789}'
    kept = rb'{"a": "\ufffd\\u0000\\\ufffd\ud83d\ude00\ufffd", "b": 1234567890123456789.0123456789}'

    row = answered(body, request=b'{"custom_id": "c", "body": ' + body + b"}")

    assert row.response == row.request == kept.decode()
