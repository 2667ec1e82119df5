"""What of a request and its answer comes into which column, whatever the endpoint."""

from __future__ import annotations

import json

import pytest

from batchline.handlers import Result
from batchline.jsonl.result_lines import answer_record
from deliver.builtin.files.columns import columns_of
from deliver.builtin.files.rows import rows

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
RESPONSES, EMBEDDINGS = "/v1/responses", "/v1/embeddings"
USER = {"role": "user", "content": "later"}


def made(endpoint, request, answer, names, **asked):
    """Return the cells of the rows that one result makes."""
    record = answer_record(
        "batch_req_x", "c", status=200, upstream_id="u", body=json.dumps(answer).encode()
    )
    raw_request = json.dumps({"custom_id": "c", "body": request}).encode()
    columns = columns_of(names, asked, endpoint=endpoint)
    found = rows([Result(0, record, raw_request)], endpoint)
    return [[column.of(row) for column in columns] for row in found]


@pytest.mark.parametrize(
    ("endpoint", "request_body", "prompt"),
    [
        (CHAT, {"messages": [USER, {"role": "assistant", "content": "x"}]}, "later"),
        (CHAT, {"messages": [{"role": "user", "content": "first"}, USER]}, "later"),
        (
            CHAT,
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "a"},
                            {"type": "image_url", "image_url": {"url": "data:"}},
                            {"type": "text", "text": "b"},
                        ],
                    }
                ]
            },
            "a\nb",
        ),
        (CHAT, {"messages": ["odd", {"role": "system", "content": "x"}]}, None),
        (COMPLETIONS, {"prompt": "once"}, "once"),
        (COMPLETIONS, {"prompt": [1, 2]}, "[1,2]"),
        (RESPONSES, {"input": "once"}, "once"),
        (
            RESPONSES,
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}]},
            "a",
        ),
        ("/v1/rerank", {"query": "which", "documents": ["a"]}, "which"),
    ],
)
def test_the_prompt_is_the_last_that_the_user_said(endpoint, request_body, prompt):
    """As text; what is none is JSON."""
    assert made(endpoint, request_body, {}, ["prompt"]) == [[prompt]]


def test_an_answer_of_responses_has_its_columns():
    """Its fields have other names than those of chat."""
    answer = {
        "model": "m",
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "so"}]}],
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    names = ["answer", "finish_reason", "model", "input_tokens", "output_tokens"]

    assert made(RESPONSES, {}, answer, names) == [["so", "max_output_tokens", "m", 3, 2]]


def test_an_answer_of_messages_has_its_columns():
    """Anthropic's dialect has names of its own, too."""
    answer = {
        "model": "m",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "so"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    names = ["prompt", "answer", "finish_reason", "model", "input_tokens", "output_tokens"]

    rows_made = made("/v1/messages", {"messages": [USER]}, answer, names)

    assert rows_made == [["later", "so", "end_turn", "m", 3, 2]]


def test_each_vector_of_an_embeddings_request_is_a_row():
    """In the order of its inputs; what belongs to the whole line stands in the first, so that sums are right."""
    request = {"model": "e", "input": ["a", "b"]}
    answer = {
        "model": "e",
        "data": [{"index": 1, "embedding": [3.0]}, {"index": 0, "embedding": [1, 2.5]}],
        "usage": {"prompt_tokens": 9},
    }
    names = ["custom_id", "part", "prompt", "embedding", "input_tokens", "request"]

    assert made(EMBEDDINGS, request, answer, names) == [
        ["c", 0, "a", [1, 2.5], 9, json.dumps(request)],
        ["c", 1, "b", [3.0], None, None],
    ]
    one = {"data": [{"index": 0, "embedding": "no base64"}]}
    assert made(EMBEDDINGS, {"input": [7, 8]}, one, ["prompt", "embedding"]) == [["[7,8]", None]]


def test_odd_answers_leave_cells_empty():
    """Model servers write what they like; a row is made of it all the same."""
    answer = {"choices": "x", "usage": {"prompt_tokens": 1 << 70, "completion_tokens": "2"}}
    names = ["answer", "finish_reason", "input_tokens", "output_tokens", "model"]

    assert made(CHAT, {"model": "asked"}, answer, names) == [[None, None, None, None, "asked"]]
    assert made(CHAT, {}, ["x"], [*names, "response"]) == [[*[None] * 5, '["x"]']]


def test_columns_of_the_request_are_named_by_where_they_stand():
    """Text as it is, all else as JSON, and nothing where there is nothing."""
    request = {"metadata": {"label": "cat", "n": 1.5}, "messages": [USER]}
    asked = {
        "label": "metadata.label",
        "n": "metadata.n",
        "role": "messages.0.role",
        "none": "messages.7.role",
        "deep": "metadata.label.x",
    }

    assert made(CHAT, request, {}, ["custom_id"], **asked) == [
        ["c", "cat", "1.5", "user", None, None]
    ]
