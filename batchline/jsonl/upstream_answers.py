"""Answers of model servers as JSON: read, and repaired where they hold what JSON forbids.

They stay raw bytes: nothing is decoded and encoded again.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from batchline.model import Usage

from .surrogates import without_lone_surrogates

# Strings are matched to leave their content alone; one that is not closed, so that its quotes are not tried
# one after another.
_STRAY = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|-?\bInfinity\b|-?\bNaN\b', re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x1f]")
_MOST_TOKENS = 1 << 40  # a greater count is nonsense, and sums would not fit into the store
_Tokens = Annotated[int, msgspec.Meta(ge=0, le=_MOST_TOKENS)]


class _PromptDetails(msgspec.Struct):
    cached_tokens: _Tokens | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: _Tokens | None = None


class _UsageBody(msgspec.Struct):
    prompt_tokens: _Tokens | None = None
    completion_tokens: _Tokens | None = None
    input_tokens: _Tokens | None = None
    output_tokens: _Tokens | None = None
    total_tokens: _Tokens | None = None
    cache_read_input_tokens: _Tokens | None = None
    cache_creation_input_tokens: _Tokens | None = None
    prompt_tokens_details: _PromptDetails | None = None
    input_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class AnswerBody(msgspec.Struct):
    """The parts of an upstream's JSON object that its verdict needs."""

    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_answer_decoder = msgspec.json.Decoder(AnswerBody)
_usage_decoder = msgspec.json.Decoder(_UsageBody)


class ReadAnswer(msgspec.Struct, frozen=True):
    """An upstream's answer: `text` is what it sent, byte for byte where that is JSON."""

    text: bytes
    shape: AnswerBody


def read_answer(body: bytes) -> ReadAnswer | None:
    """Read an upstream's answer; None where it is no JSON object or array. An array has no fields.

    Some servers write what JSON forbids: NaN and Infinity become null, raw control characters inside
    strings become escapes.
    """
    if not _is_utf8(body):
        return None
    shape = _decoded(body)
    if shape is None:
        body = _STRAY.sub(_mended, body)
        shape = _decoded(without_lone_surrogates(body))
    return None if shape is None else ReadAnswer(body, shape)


def _is_utf8(text: bytes) -> bool:
    """Check every byte: msgspec does not check what it skips."""
    if text.isascii():
        return True
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decoded(body: bytes) -> AnswerBody | None:
    try:
        if body[:1] == b"[":
            msgspec.json.decode(body, type=list[msgspec.Raw])
            return AnswerBody()
        return _answer_decoder.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None


def _mended(found: re.Match[bytes]) -> bytes:
    if not found[0].startswith(b'"'):
        return b"null"
    return _CONTROL.sub(lambda control: b"\\u%04x" % control[0][0], found[0])


def read_usage(answer: AnswerBody) -> Usage:
    """Read the tokens of an answer in OpenAI's or Anthropic's spelling; zeros where there are none.

    Anthropic counts what came from its cache, or went there, beside the other input tokens.
    """
    if is_null(answer.usage):
        return Usage()
    try:
        usage = _usage_decoder.decode(answer.usage)
    except msgspec.DecodeError:
        return Usage()
    read, made = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    prompt = usage.prompt_tokens or (usage.input_tokens or 0) + read + made
    output = usage.completion_tokens or usage.output_tokens or 0
    cached = usage.prompt_tokens_details or usage.input_tokens_details
    reasoning = usage.completion_tokens_details or usage.output_tokens_details
    return Usage(
        input_tokens=prompt,
        cached_tokens=(cached and cached.cached_tokens) or read,
        output_tokens=output,
        reasoning_tokens=(reasoning and reasoning.reasoning_tokens) or 0,
        total_tokens=usage.total_tokens or prompt + output,
    )


def is_null(value: msgspec.Raw) -> bool:
    """Whether a field is absent or null."""
    return bytes(value) in (b"", b"null")
