"""What an upstream's reply means for a line: settled, tried again, or not its fault at all.

Pure: a reply or a break in, a verdict out. This is the retry policy; nginx's part of it (one immediate
resend to another backend) is visible here as the number of backends in the reply.

    reply                                   verdict      counted
    2xx, a well-formed answer               succeeded
    2xx with an error object or no choices  retry        yes, then failed as 502
    408 409 425 500 502 504                 retry        yes, then failed with the upstream's answer
    429 503                                 retry        a quarter each: full, not broken
    502 503 of nginx, no backend tried      no backend   no
    404 without an OpenAI error object      failed       (the fleet lacks this endpoint)
    other 4xx, 3xx                          failed
    could not connect                       no backend   no
    reset, truncated                        retry        yes, then failed without an answer
    timed out                               retry        yes, then request_timeout
    its backend hangs                       retry        yes, then upstream_hung
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum

from batchline.lines import (
    TIMEOUT_CODE,
    error_body,
    error_object,
    quoted,
    read_answer,
    read_usage,
)
from batchline.model import Usage

from .upstream import NGINX_GROUP, Break, Broken, Reply

FULL_COST = 4
"""One try costs this much; a 'come back later' costs 1. A line may spend FULL_COST × max_attempts."""

_RETRYABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_PATIENT = frozenset({429, 503})
_MAX_RETRY_AFTER_S = 600.0
_NOT_FOUND = 404
_BAD_GATEWAY = 502


class Reason(StrEnum):
    """Why a line was not answered: bounded, for metrics and logs."""

    NONE = "none"
    CLIENT_ERROR = "client_error"
    ENDPOINT = "endpoint_not_supported"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    MALFORMED = "malformed_answer"
    RESET = "reset"
    TRUNCATED = "truncated"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    HUNG = "hung"
    NO_BACKEND = "no_backend"


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes into the result line of a line that was answered: well or badly."""

    status: int
    body: bytes
    request_id: str


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """What goes into the result line of a line that never was answered."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Settle it as a success."""

    answer: Answer
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True, slots=True)
class Failed:
    """Settle it as a failure."""

    result: Answer | NoAnswer
    reason: Reason


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again later; `result` is what it fails with once its tries are spent."""

    result: Answer | NoAnswer
    reason: Reason
    cost: int
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class NoBackend:
    """Nobody was there to try it: pause, and burn no attempt."""

    detail: str


Verdict = Succeeded | Failed | Retry | NoBackend


def judge(reply: Reply | Broken, *, now: float) -> Verdict:
    """Decide what a reply means. `now` is Unix seconds, for Retry-After dates."""
    if isinstance(reply, Broken):
        return _judge_break(reply)
    if 200 <= reply.status < 300:  # noqa: PLR2004
        return _judge_success(reply)
    if reply.status in (502, 503) and reply.backends == (NGINX_GROUP,):
        return NoBackend("nginx has no live backend")
    if reply.status in _RETRYABLE:
        return _judge_retryable(reply, now)
    return _judge_refusal(reply)


def _judge_break(broken: Broken) -> Verdict:
    match broken.how:
        case Break.CONNECT:
            return NoBackend(f"the upstream does not accept connections ({broken.detail})")
        case Break.TIMEOUT:
            message = f"The model server did not answer within {round(broken.seconds, 1):g} s."
            return Retry(NoAnswer(TIMEOUT_CODE, message), Reason.TIMEOUT, FULL_COST)
        case Break.TRUNCATED:
            message = "The model server's answer broke off, on every try."
            return Retry(NoAnswer("upstream_truncated", message), Reason.TRUNCATED, FULL_COST)
        case Break.TOO_LARGE:
            message = "The model server's answer is too large to be stored."
            return Failed(NoAnswer("answer_too_large", message), Reason.TOO_LARGE)
        case Break.HUNG:
            message = f"The model server hung, on every try: it {broken.detail}."
            return Retry(NoAnswer("upstream_hung", message), Reason.HUNG, FULL_COST)
        case Break.RESET:
            message = "The connection to the model server was lost, on every try."
            return Retry(NoAnswer("upstream_lost", message), Reason.RESET, FULL_COST)


def _judge_success(reply: Reply) -> Verdict:
    answer = read_answer(reply.body)
    if answer is None:
        text = (
            f"The model server answered {reply.status} with a body that is not a JSON object."
            f"{quoted(reply.body)}"
        )
        return _malformed(reply, text)
    shape = answer.shape
    if bytes(shape.error) not in (b"", b"null"):
        text = f"The model server answered {reply.status} with an error.{quoted(reply.body)}"
        body = answer.text if bytes(shape.error)[:1] == b"{" else None
        return _malformed(reply, text, body)
    if shape.choices is not None and not shape.choices:
        return _malformed(reply, "The model server answered without any choice.")
    return Succeeded(Answer(reply.status, answer.text, reply.request_id), read_usage(shape))


def _malformed(reply: Reply, message: str, body: bytes | None = None) -> Retry:
    body = body or error_body(message, kind="server_error", code=Reason.MALFORMED)
    result = Answer(_BAD_GATEWAY, body, reply.request_id)
    return Retry(result, Reason.MALFORMED, FULL_COST)


def _judge_retryable(reply: Reply, now: float) -> Retry:
    patient = reply.status in _PATIENT
    sends = max(1, len(reply.backends))
    reason = Reason.SERVER_ERROR
    if patient:
        reason = Reason.RATE_LIMITED if reply.status == 429 else Reason.OVERLOADED  # noqa: PLR2004
    return Retry(
        Answer(reply.status, error_object(reply.status, reply.body), reply.request_id),
        reason,
        cost=sends * (1 if patient else FULL_COST),
        after_s=parse_retry_after(reply.retry_after, now=now),
    )


def _judge_refusal(reply: Reply) -> Failed:
    answer = read_answer(reply.body)
    if reply.status == _NOT_FOUND and (answer is None or not bytes(answer.shape.error)):
        message = "The model servers do not offer this endpoint (they answered 404 Not Found)."
        body = error_body(message, kind="invalid_request_error", code=Reason.ENDPOINT)
        return Failed(Answer(_NOT_FOUND, body, reply.request_id), Reason.ENDPOINT)
    result = Answer(reply.status, error_object(reply.status, reply.body), reply.request_id)
    return Failed(result, Reason.CLIENT_ERROR)


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Read Retry-After (RFC 9110 §10.2.3: seconds or a date) as seconds from `now`, bounded."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_S) if seconds == seconds else None  # noqa: PLR0124 - NaN
