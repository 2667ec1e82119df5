"""One line of a batch with its answer, as a handler gets it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec

from batchline.jsonl.surrogates import without_lone_surrogates

_OK = range(200, 300)
_MOST_DIGITS = 4000  # Python makes no int of more than 4,300


class Result:
    """One line of a result file, and the line of the input file that it answers, if that was asked for.

    Both are decoded when they are first looked into.
    """

    def __init__(self, index: int, raw: bytes, raw_request: bytes | None = None) -> None:
        self.index = index
        """Where its request stands in the input file, from 0 on; blank lines do not count."""
        self.raw = raw
        """The line as the output or the error file has it, with its newline."""
        self.raw_request = raw_request
        """The line of the input file, for handlers that set `wants_requests`."""

    @cached_property
    def line(self) -> Mapping[str, Any]:
        """The whole line: id, custom_id, response, error (OpenAI's Batch guide)."""
        found: Mapping[str, Any] = decoded(self.raw)
        return found

    @cached_property
    def request(self) -> Mapping[str, Any]:
        """The body of its request; empty unless the handler set `wants_requests`."""
        if self.raw_request is None:
            return {}
        body: Mapping[str, Any] = decoded(self.raw_request).get("body") or {}
        return body

    @property
    def custom_id(self) -> str:
        """The client's name for it, unique in its batch."""
        return str(self.line["custom_id"])

    @property
    def status_code(self) -> int | None:
        """What the model server answered with, or None if it never answered."""
        response = self.line["response"]
        return None if response is None else int(response["status_code"])

    @property
    def is_answered(self) -> bool:
        """Whether it was answered with success."""
        return self.status_code in _OK

    @property
    def body(self) -> Mapping[str, Any]:
        """The body of the answer, also of a refusal; empty if there was none."""
        response = self.line["response"]
        body = None if response is None else response["body"]
        return body if isinstance(body, dict) else {}

    @property
    def error(self) -> tuple[str, str] | None:
        """The code and the message of what went wrong, or None if it is answered."""
        if self.is_answered:
            return None
        found = self.line["error"] or self.body.get("error") or self.body
        if not isinstance(found, dict):
            return str(self.status_code), str(found)
        code = found.get("code") or found.get("type") or self.status_code
        return str(code), str(found.get("message") or "")

    @property
    def text(self) -> str | None:
        """What the model said, in chat, completions, responses, messages; None where it said nothing."""
        if not self.is_answered:
            return None
        choices = self.body.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            said = (choices[0].get("message") or {}).get("content") or choices[0].get("text")
            return said if isinstance(said, str) else None
        if isinstance(content := self.body.get("content"), list):
            return _joined(content)
        output = self.body.get("output")
        return _said(output) if isinstance(output, list) else None


def decoded(text: bytes) -> Any:
    """Decode JSON, also such as models write and msgspec refuses.

    A half of a surrogate pair becomes U+FFFD; a number that no float holds becomes infinity.
    """
    whole = without_lone_surrogates(text)
    try:
        return msgspec.json.decode(whole)
    except msgspec.ValidationError:
        return json.loads(whole, parse_int=_number)


def _number(digits: str) -> float:
    return int(digits) if len(digits) <= _MOST_DIGITS else float(digits)


def _said(output: list[Any]) -> str | None:
    """Join the text of the messages of a response (OpenAI API reference, Responses)."""
    messages = [item for item in output if isinstance(item, dict) and item.get("type") == "message"]
    return _joined([part for item in messages for part in item.get("content") or []])


def _joined(content: list[Any]) -> str | None:
    """Join the parts of a content that are text."""
    parts = [
        part["text"]
        for part in content
        if isinstance(part, dict) and isinstance(part.get("text"), str)
    ]
    return "".join(parts) if parts else None
