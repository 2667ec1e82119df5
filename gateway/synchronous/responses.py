"""The responses of a call: each like a line of a result file, in the form of its request. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto

import msgspec

from batchline.jsonl.result_lines import answer_record, error_record
from gateway.transfer.simultaneous_downloads import PIECE_BYTES

from .reading import Asked, Refused

_HEAD, _BETWEEN, _TAIL = b'{"responses":[', b",", b"]}"


class Outcome(StrEnum):
    """How a request of a call ended."""

    ANSWERED = auto()
    """By a model server, also with an error."""
    REFUSED = auto()
    """By the gateway: it was not sent."""
    FAILED = auto()
    """It got no whole answer."""
    TIMEOUT = auto()
    """Not answered within the time of its call."""


@dataclass(frozen=True, slots=True)
class Response:
    """One response, as JSON."""

    outcome: Outcome
    text: bytes


def answered(
    asked: Asked, response_id: str, *, status: int, upstream_id: str, body: bytes
) -> Response:
    """Make the response of a request that a model server answered; `body` must be JSON."""
    record = answer_record(
        response_id, asked.custom_id, status=status, upstream_id=upstream_id, body=body
    )
    return Response(Outcome.ANSWERED, _in_form(asked, record))


def unanswered(
    asked: Asked | Refused, response_id: str, outcome: Outcome, *, code: str, message: str
) -> Response:
    """Make the response of a request that got no answer."""
    record = error_record(response_id, asked.custom_id, code=code, message=message)
    return Response(outcome, _in_form(asked, record))


def _in_form(asked: Asked | Refused, record: bytes) -> bytes:
    text = record.removesuffix(b"\n")
    return msgspec.json.encode(text.decode()) if asked.is_text else text


def size_bytes(responses: Sequence[Response]) -> int:
    """Return the length of the whole answer; there is at least one response."""
    texts = sum(len(response.text) for response in responses)
    return len(_HEAD) + texts + len(_BETWEEN) * (len(responses) - 1) + len(_TAIL)


def pieces(responses: Sequence[Response]) -> Iterator[bytes]:
    """Yield the whole answer, short responses together."""
    held = [_HEAD]
    held_bytes = 0
    for number, response in enumerate(responses):
        if number:
            held.append(_BETWEEN)
        held.append(response.text)
        held_bytes += len(response.text)
        if held_bytes >= PIECE_BYTES:
            yield b"".join(held)
            held, held_bytes = [], 0
    yield b"".join([*held, _TAIL])
