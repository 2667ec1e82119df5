"""A result as a row: what of a request and its answer is worth a column. Pure."""

from __future__ import annotations

from array import array
from base64 import b64decode
from binascii import Error as NoBase64
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from batchline.handlers import Result
from batchline.jsonl.surrogates import without_lone_surrogates

EMBEDDINGS = "/v1/embeddings"
_INPUTS = ("prompt", "input", "query")  # of completions; embeddings and responses; rerank
_LARGEST_NUMBER = (1 << 63) - 1

Vector = Sequence[float]
S = TypeVar("S")


class _Response(msgspec.Struct):
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    response: _Response | None = None


class _Request(msgspec.Struct):
    body: msgspec.Raw = msgspec.Raw(b"null")


_lines = msgspec.json.Decoder(_Line)
_requests = msgspec.json.Decoder(_Request)


class Row:
    """One result; of an embeddings request with several inputs, one of its vectors."""

    __slots__ = ("_answer", "part", "result", "vector")

    def __init__(self, result: Result, part: int = 0, vector: Vector | None = None) -> None:
        self.result = result
        self.part = part
        """Which of its inputs, from 0 on."""
        self.vector = vector
        self._answer = result.body if result.is_answered else {}

    @property
    def is_first(self) -> bool:
        """Whether it has what belongs to the whole line, so that sums over a column are right."""
        return self.part == 0

    @property
    def prompt(self) -> str | None:
        """What was asked: the last message of the user, or the input."""
        body = self.result.request
        if isinstance(messages := body.get("messages"), list):
            return _last_of_user(messages)
        given = next((body[name] for name in _INPUTS if name in body), None)
        if not isinstance(given, list):
            return as_text(given)
        if self.vector is not None:
            return _input(given, self.part)
        return _last_of_user(given) or as_text(given)

    @property
    def finish_reason(self) -> str | None:
        """Why the model stopped; of responses their status, or why they are incomplete."""
        body = self._answer
        if isinstance(choice := _first(body.get("choices")), dict):
            return as_text(choice.get("finish_reason"))
        details = body.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        return as_text(reason or body.get("status") or body.get("stop_reason"))

    @property
    def model(self) -> str | None:
        """Which model answered, or was asked for if none did."""
        return as_text(self._answer.get("model") or self.result.request.get("model"))

    @property
    def error_code(self) -> str | None:
        """What went wrong, None if it is answered."""
        error = self.result.error
        return None if error is None else error[0]

    @property
    def error_message(self) -> str | None:
        """The same in words."""
        error = self.result.error
        return None if error is None else error[1]

    @property
    def input_tokens(self) -> int | None:
        """How many tokens its request had, as the model server counts."""
        return self._tokens("prompt_tokens", "input_tokens")

    @property
    def output_tokens(self) -> int | None:
        """How many its answer has."""
        return self._tokens("completion_tokens", "output_tokens")

    @property
    def request(self) -> str | None:
        """The body of its request as JSON, as the client wrote it."""
        raw = self.result.raw_request
        if raw is None or not self.is_first:
            return None
        return bytes(_read(_requests, raw).body).decode(errors="replace")

    @property
    def response(self) -> str | None:
        """The body of its answer as JSON, as the model server wrote it."""
        response = _read(_lines, self.result.raw).response
        if response is None or not self.is_first:
            return None
        return bytes(response.body).decode(errors="replace")

    def _tokens(self, *names: str) -> int | None:
        usage = self._answer.get("usage")
        if not isinstance(usage, dict) or not self.is_first:
            return None
        found = next((usage[name] for name in names if name in usage), None)
        is_number = isinstance(found, int) and abs(found) <= _LARGEST_NUMBER
        return found if is_number else None

    def asked(self, path: Sequence[str]) -> str | None:
        """Return what stands in its request there: keys of objects, and places in lists from 0 on."""
        found: Any = self.result.request
        for step in path:
            if isinstance(found, dict):
                found = found.get(step)
            elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
                found = found[int(step)]
            else:
                return None
        return as_text(found)


def _read(decoder: msgspec.json.Decoder[S], text: bytes) -> S:
    try:
        return decoder.decode(text)
    except msgspec.DecodeError:
        return decoder.decode(without_lone_surrogates(text))


def rows(results: Iterable[Result], endpoint: str) -> Iterator[Row]:
    """Yield a row for each result, of embeddings one for each vector, in order."""
    for result in results:
        vectors = _vectors(result) if endpoint == EMBEDDINGS else []
        if vectors:
            yield from (Row(result, part, vector) for part, vector in enumerate(vectors))
        else:
            yield Row(result)


def as_text(value: Any) -> str | None:
    """Write a value of JSON into a column of text: text as it is, all else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _last_of_user(messages: Sequence[Any]) -> str | None:
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            return _content(message.get("content"))
    return None


def _content(content: Any) -> str | None:
    """Join the text of a message's parts; images and other parts have none."""
    if not isinstance(content, list):
        return as_text(content)
    parts = [part["text"] for part in content if isinstance(part, dict) and "text" in part]
    return "\n".join(text for text in parts if isinstance(text, str))


def _input(given: Sequence[Any], part: int) -> str | None:
    """Return one input of an embeddings request: text, or the numbers of its tokens."""
    if not isinstance(_first(given), (str, list)):
        return as_text(given)  # one input, given as tokens
    return as_text(given[part]) if part < len(given) else None


def _vectors(result: Result) -> list[Vector | None]:
    """Return the vectors of an embeddings answer, in the order of its inputs."""
    found = result.body.get("data") if result.is_answered else None
    if not isinstance(found, list):
        return []
    items = [one for one in found if isinstance(one, dict)]
    if all(isinstance(one.get("index"), int) for one in items):
        items.sort(key=lambda one: one["index"])
    return [_vector(one.get("embedding")) for one in items]


def _vector(embedding: Any) -> Vector | None:
    """Read one vector: numbers, or base64 of little-endian float32 (OpenAI API reference, Embeddings)."""
    if isinstance(embedding, str):
        try:
            return array("f", b64decode(embedding))
        except (NoBase64, ValueError):
            return None
    is_vector = isinstance(embedding, list) and all(isinstance(x, int | float) for x in embedding)
    return embedding if is_vector else None


def _first(found: Any) -> Any:
    return found[0] if isinstance(found, list) and found else None
