"""A 200 is an answer only if it holds one: each endpoint's table, by example."""

from __future__ import annotations

import base64
import json
import struct

import pytest
from scripted import message

from batchline.api.endpoints import ENDPOINTS
from dispatcher.replies.whole_answers import CHECKS, GOOD_ENDS, Missing, defect_of

CHAT, TEXT, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
EMBEDDINGS, SCORE, RERANK = "/v1/embeddings", "/v1/score", "/v1/rerank"
MESSAGES = "/v1/messages"
MODERATIONS, IMAGES, EDITS = "/v1/moderations", "/v1/images/generations", "/v1/images/edits"
MALFORMED, ABORTED, ENGINE = Missing.MALFORMED, Missing.ABORTED, Missing.ENGINE_ERROR


def choice(reason="stop", content="ha", **message):
    return {"message": {"role": "assistant", "content": content} | message, "finish_reason": reason}


def choices(*found):
    return {"choices": list(found)}


def packed(*numbers):
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def vectors(*found):
    return {"data": [{"embedding": vector} for vector in found]}


NAN = float("nan")
CALL = {"tool_calls": [{"id": "x", "function": {}}]}

CASES = {
    # chat and completions
    "an answer": (CHAT, choices(choice()), {}, None),
    "empty, and stopped": (CHAT, choices(choice(content="")), {}, None),
    "cut at its length": (CHAT, choices(choice("length")), {}, None),
    "a tool call": (CHAT, choices(choice("tool_calls", None, **CALL)), {}, None),
    "no reason, content": (CHAT, choices(choice(None)), {}, None),
    "no reason, a tool call": (CHAT, choices(choice(None, None, **CALL)), {}, None),
    "another server's reason": (CHAT, choices(choice("budget")), {}, None),
    "only reasoning": (CHAT, choices(choice(None, None, reasoning_content="so")), {}, None),
    "text": (TEXT, choices({"text": "", "finish_reason": "stop"}), {}, None),
    "text without a reason": (TEXT, choices({"text": "a"}), {}, None),
    "{}": (CHAT, {}, {}, MALFORMED),
    "an echo": (CHAT, {"model": "m", "messages": []}, {}, MALFORMED),
    "choices null": (CHAT, {"choices": None}, {}, MALFORMED),
    "no choices": (CHAT, choices(), {}, MALFORMED),
    "choices that are words": (CHAT, choices("a"), {}, MALFORMED),
    "a choice without message": (CHAT, choices({"finish_reason": "stop"}), {}, MALFORMED),
    "a message null": (CHAT, choices({"message": None, "finish_reason": "stop"}), {}, MALFORMED),
    "text null": (TEXT, choices({"text": None, "finish_reason": "stop"}), {}, MALFORMED),
    "the second choice is none": (CHAT, choices(choice(), {}), {}, MALFORMED),
    "an array": (CHAT, [], {}, MALFORMED),
    "aborted": (CHAT, choices(choice("abort")), {}, ABORTED),
    "one of two aborted": (CHAT, choices(choice(), choice("abort")), {}, ABORTED),
    "error": (CHAT, choices(choice("error")), {}, ENGINE),
    "error, in text": (TEXT, choices({"text": "a", "finish_reason": "error"}), {}, ENGINE),
    "no reason, no content": (CHAT, choices(choice(None, "")), {}, ENGINE),
    "unknown reason, no content": (CHAT, choices(choice("cancelled", None)), {}, ENGINE),
    # responses
    "completed": (RESPONSES, {"status": "completed", "output": []}, {}, None),
    "incomplete": (
        RESPONSES,
        {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
        {},
        None,
    ),
    "no status, output": (RESPONSES, {"output": [{}]}, {}, None),
    "incomplete without reason": (RESPONSES, {"status": "incomplete"}, {}, ABORTED),
    "cancelled": (RESPONSES, {"status": "cancelled"}, {}, ABORTED),
    "queued": (RESPONSES, {"status": "queued"}, {}, ABORTED),
    "in progress": (RESPONSES, {"status": "in_progress", "output": [{}]}, {}, ABORTED),
    "failed": (RESPONSES, {"status": "failed"}, {}, ENGINE),
    "a response that is {}": (RESPONSES, {}, {}, MALFORMED),
    # embeddings
    "one": (EMBEDDINGS, vectors([1, 0.5]), {"input": "a"}, None),
    "two": (EMBEDDINGS, vectors([1.0], [2.0]), {"input": ["a", "b"]}, None),
    "tokens of one text": (EMBEDDINGS, vectors([1.0]), {"input": [1, 2, 3]}, None),
    "tokens of two": (EMBEDDINGS, vectors([1.0], [1.0]), {"input": [[1], [2]]}, None),
    "base64": (EMBEDDINGS, vectors(packed(1.0, 2.0)), {"input": "a"}, None),
    "of each token": (EMBEDDINGS, vectors([[1.0], [2.0]]), {"input": "a"}, None),
    "input unknown": (EMBEDDINGS, vectors([1.0]), {"messages": []}, None),
    "too few": (EMBEDDINGS, vectors([1.0]), {"input": ["a", "b"]}, MALFORMED),
    "none": (EMBEDDINGS, vectors(), {"input": "a"}, MALFORMED),
    "NaN as null": (EMBEDDINGS, vectors([1.0, None]), {"input": "a"}, MALFORMED),
    "NaN in base64": (EMBEDDINGS, vectors(packed(1.0, NAN)), {"input": "a"}, MALFORMED),
    "no base64": (EMBEDDINGS, vectors("!"), {"input": "a"}, MALFORMED),
    "escaped base64": (EMBEDDINGS, vectors('"'), {"input": "a"}, None),
    "16-bit floats in base64": (EMBEDDINGS, vectors("AAA="), {"input": "a"}, None),
    "nothing in base64": (EMBEDDINGS, vectors(""), {"input": "a"}, MALFORMED),
    "infinite in base64": (EMBEDDINGS, vectors(packed(float("inf"))), {"input": "a"}, MALFORMED),
    "empty": (EMBEDDINGS, vectors([]), {"input": "a"}, MALFORMED),
    "null": (EMBEDDINGS, vectors(None), {"input": "a"}, MALFORMED),
    "one of each token null": (EMBEDDINGS, vectors([[1.0], [None]]), {"input": "a"}, MALFORMED),
    # score and rerank
    "a score": (SCORE, {"data": [{"score": 0.1}]}, {"text_1": "a", "text_2": "b"}, None),
    "scores": (
        SCORE,
        {"data": [{"score": 0.1}, {"score": -2}]},
        {"text_1": "a", "text_2": ["b", "c"]},
        None,
    ),
    "a score too few": (
        SCORE,
        {"data": [{"score": 0.1}]},
        {"queries": "a", "documents": ["b", "c"]},
        MALFORMED,
    ),
    "a score null": (SCORE, {"data": [{"score": None}]}, {"text_1": "a"}, MALFORMED),
    "ranks": (
        RERANK,
        {"results": [{"relevance_score": 1.0}, {"relevance_score": 0}]},
        {"documents": ["a", "b"]},
        None,
    ),
    "the best one": (
        RERANK,
        {"results": [{"relevance_score": 1.0}]},
        {"documents": ["a", "b"], "top_n": 1},
        None,
    ),
    "an array of ranks": (RERANK, [{"index": 0, "score": -8.1}], {"documents": ["a"]}, None),
    "a rank too few": (
        RERANK,
        {"results": [{"relevance_score": 1.0}]},
        {"documents": ["a", "b"]},
        MALFORMED,
    ),
    "no results": (RERANK, {"results": []}, {"documents": ["a"]}, MALFORMED),
    "a rank null": (RERANK, {"results": [{"relevance_score": None}]}, {}, MALFORMED),
    "an empty array of ranks": (RERANK, [], {"documents": ["a"]}, MALFORMED),
    # Anthropic's messages
    "a message": (MESSAGES, message(), {}, None),
    "a message of no words": (MESSAGES, message(content=[]), {}, None),
    "a message that uses a tool": (MESSAGES, message(stop_reason="tool_use"), {}, None),
    "a message without an end": (MESSAGES, message(stop_reason=None), {}, ABORTED),
    "a message that was aborted": (MESSAGES, message(stop_reason="abort"), {}, ABORTED),
    "a message that failed": (MESSAGES, message(stop_reason="error"), {}, ENGINE),
    "a message without content": (MESSAGES, message(content=None), {}, MALFORMED),
    "a message that is {}": (MESSAGES, {}, {}, MALFORMED),
    "a chat instead of a message": (MESSAGES, choices(choice()), {}, MALFORMED),
    # moderations
    "a judgement": (MODERATIONS, {"results": [{"flagged": False}]}, {"input": "a"}, None),
    "of a text and an image": (
        MODERATIONS,
        {"results": [{"flagged": True}]},
        {"input": [{"type": "text", "text": "a"}, {"type": "image_url"}]},
        None,
    ),
    "a judgement too few": (
        MODERATIONS,
        {"results": [{"flagged": False}]},
        {"input": ["a", "b"]},
        MALFORMED,
    ),
    "no judgement": (MODERATIONS, {"results": []}, {"input": "a"}, MALFORMED),
    "a judgement that says nothing": (MODERATIONS, {"results": [{}]}, {"input": "a"}, MALFORMED),
    # images
    "an image": (IMAGES, {"data": [{"b64_json": "aGk="}]}, {"prompt": "a"}, None),
    "an image elsewhere": (EDITS, {"data": [{"url": "https://x/a.png"}]}, {"prompt": "a"}, None),
    "no image": (IMAGES, {"data": []}, {"prompt": "a"}, MALFORMED),
    "an image without bytes": (EDITS, {"data": [{"b64_json": ""}]}, {"prompt": "a"}, MALFORMED),
    "an image that is a word": (IMAGES, {"data": ["a"]}, {"prompt": "a"}, MALFORMED),
}


@pytest.mark.spec("6-whole-answer")
@pytest.mark.parametrize(("endpoint", "answer", "request_", "missing"), CASES.values(), ids=CASES)
def test_what_counts_as_an_answer(endpoint, answer, request_, missing):
    """The contract's list, and what sick servers were seen to say."""
    found = defect_of(endpoint, json.dumps(answer).encode(), json.dumps(request_).encode())

    assert (found and found.missing) == missing


def test_the_table_is_total():
    """Each endpoint that a batch may have is checked."""
    assert set(CHECKS) == set(ENDPOINTS)


@pytest.mark.parametrize("reason", sorted(GOOD_ENDS))
def test_good_ends_need_no_content(reason):
    """A model may have nothing to say."""
    assert defect_of(CHAT, json.dumps(choices(choice(reason, ""))).encode(), b"{}") is None


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    "answer", [b"[" * 99_999, b'{"choices": {}, "data": 7, "results": "x"}', b"7"]
)
def test_hostile_answers_are_defects(endpoint, answer):
    """Whatever a server sends, judging it never breaks."""
    assert defect_of(endpoint, answer, b"[" * 99_999).missing is MALFORMED


def test_an_endpoint_that_nobody_knows_is_not_judged():
    """Any object will do."""
    assert defect_of("/v1/other", b"{}", b"{}") is None
