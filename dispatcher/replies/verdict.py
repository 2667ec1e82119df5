"""What an upstream's reply means for a line: settled, tried again, or not its fault at all.

Pure: a reply or a break in, a verdict out. Here a reply is recognised as one of the table's rows
(`policy`), and what goes into the result line is made; what a row leads to stands in the table. nginx's
part (one immediate resend to another backend) is visible as the number of backends in the reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from batchline.jsonl.result_lines import error_body, error_object, quoted
from batchline.jsonl.surrogates import without_lone_surrogates
from batchline.jsonl.upstream_answers import ReadAnswer, is_null, read_answer, read_usage
from batchline.model import Usage
from batchline.serving.retry_after import parse_retry_after
from dispatcher.backends.circuit import Signal

from .error_texts import (
    Body,
    Dying,
    is_about_route,
    is_foreign,
    names_model,
    read_error,
    tells_of_death,
    tells_of_engine,
)
from .policy import BREAKS, POLICIES, Policy, Reason, Then, Wait, of_status
from .upstream import NGINX_GROUP, Broken, Reply
from .whole_answers import Defect, Missing, defect_of

_NOT_FOUND = 404
_NO_METHOD = 405
_TOO_LONG = 413
_WHATEVER_IT_SAYS = frozenset({410, 421, 426, 431, 501})
"""No line provokes these by what it says."""
_BAD_GATEWAY = 502
_SERVER_ERRORS = 500
_STALE_S = 0.1
"""A server that closes an idle connection does so before it could have read the request."""
_SHOWN_BYTES = 4096
_SHOWN_MODELS = 20

_FAULT_BACKEND_FAILED = b'"code":"backend_failed"'


class Answer(msgspec.Struct, frozen=True):
    """What goes into the result line of a line that was answered: well or badly."""

    status: int
    body: bytes
    request_id: str


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """What goes into the result line of a line that never was answered."""

    code: str
    message: str


class Succeeded(msgspec.Struct, frozen=True):
    """Settle it as a success."""

    answer: Answer
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Failed:
    """Settle it as a failure."""

    result: Answer | NoAnswer
    reason: Reason

    @property
    def is_refusal(self) -> bool:
        """Whether a backend said so, so that another one may be asked."""
        return POLICIES[self.reason].signal is Signal.REJECTED


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again later; `result` is what it fails with once its attempts are spent."""

    result: Answer | NoAnswer
    reason: Reason
    after_s: float | None = None
    """What Retry-After asks for, where the row heeds it."""
    sends: int = 1
    """How often it was sent: nginx may have sent it to two backends."""

    @property
    def policy(self) -> Policy:
        """The row of the table."""
        return POLICIES[self.reason]

    @property
    def cost(self) -> int:
        """What this attempt took of the line's FULL_COST × max_attempts."""
        return self.sends * self.policy.cost


@dataclass(frozen=True, slots=True)
class NoBackend:
    """Nobody was there to try it: pause, and burn no attempt."""

    detail: str
    reason: Reason = Reason.NO_BACKEND


Verdict = Succeeded | Failed | Retry | NoBackend


class Setting(msgspec.Struct, frozen=True):
    """What judging must know besides the reply."""

    now: float
    """Unix seconds, for Retry-After dates."""
    endpoint: str = ""
    request: Body = b""
    """The body of the line."""
    may_be_stale: bool = True
    """The line was not sent again for a stale connection before."""
    is_leaving: bool = False
    """Its server says that it stops: what it answers may be cut short."""


def judge(reply: Reply | Broken, setting: Setting) -> Verdict:
    """Decide what a reply means."""
    if isinstance(reply, Broken):
        return _judge_break(reply, setting)
    if 200 <= reply.status < 300:  # noqa: PLR2004
        return _judge_success(reply, setting)
    if reply.status in (502, 503) and reply.backends == (NGINX_GROUP,):
        return NoBackend("nginx has no live backend")
    return _judge_error(reply, setting)


def our_fault() -> Retry:
    """Return the verdict on a line at which the dispatcher itself broke."""
    return _without_answer(Reason.OUR_FAULT)


def without_body() -> Retry:
    """Return the verdict on a line whose body the disk does not give out at present."""
    return _without_answer(Reason.NO_BODY)


def without_media(why: str, *, is_final: bool) -> Retry | Failed:
    """Return the verdict on a line whose file is not there; `why`: the end of a sentence."""
    reason = Reason.NO_MEDIA if is_final else Reason.NO_MEDIA_YET
    verdict = _without_answer(reason, why=why)
    return Failed(verdict.result, reason) if is_final else verdict


def not_sent() -> Retry:
    """Return the verdict on a line for which this process could open no connection."""
    return _without_answer(Reason.NO_DESCRIPTORS)


def model_gone(model: str | None, served: Sequence[str], *, request_id: str) -> Answer:
    """Return what a line fails with whose model nobody has served for so long."""
    shown = ", ".join(served[:_SHOWN_MODELS]) or "nothing"
    message = POLICIES[Reason.MODEL_GONE].message.format(model=model, served=shown)
    body = error_body(message, kind="invalid_request_error", code="model_not_found", param="model")
    return Answer(_NOT_FOUND, body, request_id)


def _judge_break(broken: Broken, setting: Setting) -> Verdict:
    reason = BREAKS[broken.how]
    if reason is Reason.RESET and broken.backend is None:
        reason = Reason.PROXY_LOST
    elif reason is Reason.RESET and setting.may_be_stale and broken.seconds < _STALE_S:
        reason = Reason.STALE
    row = POLICIES[reason]
    if row.then is Then.PAUSE:
        return NoBackend(f"the upstream does not accept connections ({broken.detail})")
    verdict = _without_answer(reason, seconds=round(broken.seconds, 1))
    return verdict if row.then is Then.RETRY else Failed(verdict.result, reason)


def _without_answer(reason: Reason, **told: float | str) -> Retry:
    row = POLICIES[reason]
    return Retry(NoAnswer(row.code or str(reason), row.message.format(**told)), reason)


_MISSING = {
    Missing.MALFORMED: Reason.MALFORMED,
    Missing.ABORTED: Reason.ABORTED,
    Missing.ENGINE_ERROR: Reason.ENGINE_ERROR,
}
_CUT_SHORT = "/v1/responses"
"""Of this endpoint an answer that the engine gave up looks like a whole one."""


def _judge_success(reply: Reply, setting: Setting) -> Verdict:
    answer = read_answer(reply.body)
    if answer is None:
        text = (
            f"The model server answered {reply.status} with a body that is not a JSON object."
            f"{quoted(reply.body)}"
        )
        return _malformed(reply, text)
    if not is_null(answer.shape.error):
        return _judge_error_in_200(reply, answer)
    if (defect := _defect_of(answer, setting)) is not None:
        return _judge_defect(reply, defect)
    if setting.is_leaving and setting.endpoint == _CUT_SHORT:
        text = "The model server stopped while it made the response, on every try."
        return _malformed(reply, text, reason=Reason.STOPPING)
    return Succeeded(Answer(reply.status, answer.text, reply.request_id), read_usage(answer.shape))


def _defect_of(answer: ReadAnswer, setting: Setting) -> Defect | None:
    defect = defect_of(setting.endpoint, answer.text, setting.request)
    if defect is None or (whole := without_lone_surrogates(answer.text)) == answer.text:
        return defect
    return defect_of(setting.endpoint, whole, setting.request)


def _judge_defect(reply: Reply, defect: Defect) -> Retry:
    said = quoted(reply.body) if defect.missing is Missing.MALFORMED else ""
    return _malformed(reply, defect.message + said, reason=_MISSING[defect.missing])


def _judge_error_in_200(reply: Reply, answer: ReadAnswer) -> Retry:
    text = f"The model server answered {reply.status} with an error.{quoted(reply.body)}"
    body = answer.text if bytes(answer.shape.error)[:1] == b"{" else None
    reason = _of_dying(reply.body) or Reason.ERROR_IN_200
    return _malformed(reply, text, body, reason=reason)


def _malformed(
    reply: Reply, message: str, body: bytes | None = None, *, reason: Reason = Reason.MALFORMED
) -> Retry:
    body = body or error_body(message, kind="server_error", code=Reason.MALFORMED)
    return Retry(Answer(_BAD_GATEWAY, body, reply.request_id), reason)


def _judge_error(reply: Reply, setting: Setting) -> Retry | Failed:
    reason = _of_error(reply, setting)
    row = POLICIES[reason]
    result: Answer | NoAnswer = Answer(
        reply.status, error_object(reply.status, reply.body), reply.request_id
    )
    if row.then is Then.FAIL:
        return Failed(result, reason)
    if row.code is not None:
        result = NoAnswer(row.code, row.message)
    asked = parse_retry_after(reply.retry_after, now=setting.now)
    after_s = asked if row.wait is Wait.ASKED else None
    return Retry(result, reason, after_s, sends=max(1, len(reply.backends)))


def _of_error(reply: Reply, setting: Setting) -> Reason:
    """Name the row of an error answer: what it says counts for more than its status."""
    reason = of_status(reply.status)
    if reply.status >= _SERVER_ERRORS and (dying := _of_dying(reply.body)) is not None:
        return dying
    if reason is Reason.BAD_GATEWAY and _FAULT_BACKEND_FAILED in reply.body[:_SHOWN_BYTES]:
        return Reason.BACKEND_FAILED
    if reason is Reason.CLIENT_ERROR:
        return _of_client_error(reply, setting)
    return reason


def _of_client_error(reply: Reply, setting: Setting) -> Reason:
    """Tell what a 4xx, or a 501, is about: the line, or what this server is."""
    status, error = reply.status, read_error(reply.body)
    is_route = not error.is_object or is_about_route(error, setting.endpoint)
    if status in {_NOT_FOUND, _NO_METHOD} and is_route:
        return Reason.NO_ENDPOINT
    if status == _TOO_LONG and not error.is_object:
        return Reason.BODY_REFUSED
    if error.is_object and names_model(status, error, setting.request):
        return Reason.MODEL_MISSING
    if tells_of_engine(error):
        return Reason.ENGINE_FAULT
    if not is_foreign(status, reply.body):
        return Reason.CLIENT_ERROR
    return Reason.NO_SERVER if status in _WHATEVER_IT_SAYS else Reason.FOREIGN


_DYING = {Dying.SHUTTING_DOWN: Reason.SHUTTING_DOWN, Dying.DEAD: Reason.ENGINE_DEAD}


def _of_dying(body: bytes) -> Reason | None:
    dying = tells_of_death(body)
    return None if dying is None else _DYING[dying]
