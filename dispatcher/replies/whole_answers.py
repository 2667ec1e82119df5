"""Whether a 2xx holds a whole answer for its endpoint: a table of checks. Pure.

A server that is sick, or no model server at all, says 200 to anything: `{}`, no choices, an echo, NaN for
every number. Each check reads as little as it can, and says in words what is missing. What counts as an
answer is the contract's ("What counts as an answer of a line").
"""

from __future__ import annotations

import base64
import binascii
import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import msgspec

from batchline.jsonl.upstream_answers import is_null

from .error_texts import Body


class Missing(StrEnum):
    """Whose doing it is that there is no answer."""

    MALFORMED = "malformed"
    """It is none: whatever sent it, nothing of it can be used."""
    ABORTED = "aborted"
    """The engine gave it up before it was whole."""
    ENGINE_ERROR = "engine_error"
    """The engine failed while it made it."""


@dataclass(frozen=True, slots=True)
class Defect:
    """Why a 2xx is no answer."""

    missing: Missing
    message: str


GOOD_ENDS = frozenset(
    {
        *("stop", "length", "tool_calls", "function_call", "content_filter"),
        *("repetition", "eos_token", "stop_sequence", "end_turn", "max_tokens"),
    }
)
"""OpenAI's, vLLM's own, and those of other servers that end a whole answer."""
_ABORT, _ERROR = "abort", "error"
_CONTENTS = (
    *("content", "tool_calls", "function_call", "refusal"),
    *("reasoning_content", "reasoning", "audio"),
)
_EMPTY = (b"", b"null", b'""', b"[]", b"{}")


class _Choice(msgspec.Struct):
    finish_reason: str | None = None
    message: msgspec.Raw = msgspec.Raw()
    text: msgspec.Raw = msgspec.Raw()


class _Choices(msgspec.Struct):
    choices: list[_Choice] | None = None


class _Reason(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    status: str | None = None
    output: list[msgspec.Raw] | None = None
    incomplete_details: _Reason | None = None


class _Message(msgspec.Struct):
    content: list[msgspec.Raw] | None = None
    stop_reason: str | None = None


class _Embedding(msgspec.Struct):
    embedding: msgspec.Raw = msgspec.Raw()


class _Embeddings(msgspec.Struct):
    data: list[_Embedding] | None = None


class _Score(msgspec.Struct):
    score: float | None = None
    relevance_score: float | None = None


class _Scores(msgspec.Struct):
    data: list[_Score] | None = None
    results: list[_Score] | None = None


class _Moderations(msgspec.Struct):
    results: list[dict[str, msgspec.Raw]] | None = None


class _Image(msgspec.Struct):
    b64_json: str | None = None
    url: str | None = None


class _Images(msgspec.Struct):
    data: list[_Image] | None = None


class _Transcript(msgspec.Struct):
    text: str | None = None


class _Asked(msgspec.Struct):
    """What a request asks for, in the spellings that servers know."""

    input: msgspec.Raw = msgspec.Raw()
    text_1: msgspec.Raw = msgspec.Raw()
    text_2: msgspec.Raw = msgspec.Raw()
    queries: msgspec.Raw = msgspec.Raw()
    documents: msgspec.Raw = msgspec.Raw()
    texts: msgspec.Raw = msgspec.Raw()
    data_1: msgspec.Raw = msgspec.Raw()
    data_2: msgspec.Raw = msgspec.Raw()
    items: msgspec.Raw = msgspec.Raw()
    top_n: int | None = None


def defect_of(endpoint: str, answer: bytes, request: Body) -> Defect | None:
    """Say why the body of a 2xx answers this request not, or not wholly; None where it does."""
    return CHECKS.get(endpoint, _any)(answer, request)


def _malformed(message: str) -> Defect:
    return Defect(Missing.MALFORMED, f"The model server answered {message}.")


def _any(answer: bytes, request: Body) -> None:
    """Accept any object: nothing is known of such an endpoint."""
    del answer, request


T = TypeVar("T")


def _read(body: Body, form: type[T]) -> T | None:
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, RecursionError):
        return None


# -- text

_choices_decoder = msgspec.json.Decoder(_Choices)


def _choices(answer: bytes, request: Body) -> Defect | None:
    del request
    try:
        choices = _choices_decoder.decode(answer).choices
    except (msgspec.DecodeError, RecursionError):
        return _malformed("with choices that are none")
    if not choices:
        return _malformed("without any choice")
    for choice in choices:
        if (defect := _choice(choice)) is not None:
            return defect
    return None


def _choice(choice: _Choice) -> Defect | None:
    message, text = bytes(choice.message), bytes(choice.text)
    if message[:1] != b"{" and text[:1] != b'"':
        return _malformed("with a choice that has neither message nor text")
    end = choice.finish_reason
    if end in GOOD_ENDS:
        return None
    if end == _ABORT:
        text_ = "The engine gave the generation up (finish_reason abort), on every try."
        return Defect(Missing.ABORTED, text_)
    if end == _ERROR or not _has_content(message, text):
        text_ = f"The engine failed while it generated (finish_reason {end}), on every try."
        return Defect(Missing.ENGINE_ERROR, text_)
    return None


def _has_content(message: bytes, text: bytes) -> bool:
    if text not in _EMPTY:
        return True
    fields = _read(message, dict[str, msgspec.Raw]) or {}
    return any(bytes(fields.get(name, b"")) not in _EMPTY for name in _CONTENTS)


def _response(answer: bytes, request: Body) -> Defect | None:
    del request
    found = _read(answer, _Response)
    if found is None:
        return _malformed("with a response that is none")
    match found.status:
        case "completed":
            return None
        case "incomplete" if found.incomplete_details and found.incomplete_details.reason:
            return None
        case "failed":
            text = "The engine failed while it made the response, on every try."
            return Defect(Missing.ENGINE_ERROR, text)
        case None:
            return None if found.output else _malformed("with a response without status or output")
        case status:
            text = f"The engine gave the response up (status {status}), on every try."
            return Defect(Missing.ABORTED, text)


def _anthropic_message(answer: bytes, request: Body) -> Defect | None:
    """Judge a message: vLLM leaves `stop_reason` out where the engine gave it up, as servers before may."""
    del request
    found = _read(answer, _Message)
    if found is None or found.content is None:
        return _malformed("with a message that has no content")
    match found.stop_reason:
        case None | "abort":
            text = "The engine gave the message up (no stop_reason), on every try."
            return Defect(Missing.ABORTED, text)
        case "error":
            text = "The engine failed while it made the message, on every try."
            return Defect(Missing.ENGINE_ERROR, text)
        case _:
            return None


# -- numbers


def _embeddings(answer: bytes, request: Body) -> Defect | None:
    found = _read(answer, _Embeddings)
    data = (found and found.data) or []
    wanted = _asked_inputs(request)
    if len(data) < max(1, wanted):
        return _malformed(f"with {len(data)} embeddings where {max(1, wanted)} were asked for")
    if not all(_is_vector(bytes(entry.embedding)) for entry in data):
        return _malformed("with embeddings that are not all finite numbers")
    return None


def _is_vector(raw: bytes) -> bool:
    if raw[:1] == b'"':
        return _is_packed_vector(raw[1:-1])
    numbers = _read(raw, list[float])
    if numbers is None:  # one vector for each token
        vectors = _read(raw, list[list[float]])
        return bool(vectors) and all(_are_finite(vector) for vector in vectors or ())
    return _are_finite(numbers)


def _are_finite(numbers: list[float]) -> bool:
    return bool(numbers) and math.isfinite(sum(numbers))


def _is_packed_vector(text: bytes) -> bool:
    """Whether base64 text holds finite numbers: 32-bit floats, as OpenAI packs them, or another type."""
    try:
        packed = base64.b64decode(text, validate=True)
    except binascii.Error:
        return b"\\" in text  # escaped, and too rare to be worth more
    if len(packed) % 4:
        return bool(packed)
    return _are_finite(array("f", packed).tolist())


def _scores(answer: bytes, request: Body) -> Defect | None:
    found = _read(answer, _Scores)
    asked = _read(request, _Asked) or _Asked()
    sides = (
        *(asked.text_1, asked.text_2, asked.data_1, asked.data_2),
        *(asked.queries, asked.documents, asked.items),
    )
    return _judge_scores((found and found.data) or [], max(map(_entries, sides)))


def _ranks(answer: bytes, request: Body) -> Defect | None:
    array_form = _read(answer, list[_Score]) if answer[:1] == b"[" else None
    found = None if array_form is not None else _read(answer, _Scores)
    results = array_form or (found and (found.results or found.data)) or []
    asked = _read(request, _Asked) or _Asked()
    wanted = max(_entries(asked.documents), _entries(asked.texts))
    if asked.top_n is not None and asked.top_n > 0:
        wanted = min(wanted, asked.top_n)
    return _judge_scores(results, wanted)


def _judge_scores(scores: list[_Score], wanted: int) -> Defect | None:
    if len(scores) < max(1, wanted):
        return _malformed(f"with {len(scores)} scores where {max(1, wanted)} were asked for")
    values = [one.score if one.relevance_score is None else one.relevance_score for one in scores]
    if any(value is None or not math.isfinite(value) for value in values):
        return _malformed("with scores that are not all finite numbers")
    return None


def _asked_inputs(request: Body) -> int:
    """How many embeddings a request asks for; 0 where that cannot be told."""
    asked = _read(request, _Asked)
    if asked is None:
        return 0
    entries = _read(asked.input, list[msgspec.Raw])
    if entries and bytes(entries[0])[:1] not in b'"[{':
        return 1  # the tokens of one text
    return _entries(asked.input)


def _entries(value: msgspec.Raw) -> int:
    """How many texts a field holds: of a list its length, else one."""
    if is_null(value):
        return 0
    entries = _read(value, list[msgspec.Raw])
    return 1 if entries is None else len(entries)


# -- other


def _moderations(answer: bytes, request: Body) -> Defect | None:
    found = _read(answer, _Moderations)
    results = (found and found.results) or []
    wanted = max(1, _asked_texts(request))
    if len(results) < wanted:
        return _malformed(f"with {len(results)} results where {wanted} were asked for")
    return None if all(results) else _malformed("with a result that says nothing")


def _asked_texts(request: Body) -> int:
    """How many texts are to be judged each by itself; the parts of one message (text, images) are one."""
    asked = _read(request, _Asked)
    texts = _read(asked.input, list[str]) if asked else None
    return 1 if texts is None else len(texts)


def _transcript(answer: bytes, request: Body) -> Defect | None:
    """Accept a text, be it empty: what was heard may be silence."""
    del request
    found = _read(answer, _Transcript)
    return _malformed("without a text") if found is None or found.text is None else None


def _images(answer: bytes, request: Body) -> Defect | None:
    del request
    found = _read(answer, _Images)
    images = (found and found.data) or []
    if not images:
        return _malformed("without any image")
    if not all(image.b64_json or image.url for image in images):
        return _malformed("with an image that has neither bytes nor a URL")
    return None


CHECKS: dict[str, Callable[[bytes, Body], Defect | None]] = {
    "/v1/chat/completions": _choices,
    "/v1/completions": _choices,
    "/v1/responses": _response,
    "/v1/embeddings": _embeddings,
    "/v1/score": _scores,
    "/v1/rerank": _ranks,
    "/v1/messages": _anthropic_message,
    "/v1/moderations": _moderations,
    "/v1/images/generations": _images,
    "/v1/images/edits": _images,
    "/v1/audio/transcriptions": _transcript,
    "/v1/audio/translations": _transcript,
}
"""The table: total over the endpoints that batches may have, by test."""
