"""The retry policy as data: one row for each way in which an attempt of a line can end badly.

`verdict` says which row a reply belongs to, `flight` does what the row says. docs/retries.md shows the
table (a test holds the two together) and tells why; the statuses of HTTP are mapped here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus

from batchline.jsonl.result_lines import TIMEOUT_CODE
from dispatcher.backends.circuit import Signal
from dispatcher.backends.lacks import Lacking

from .upstream import Break

FULL_COST = 4
"""One attempt costs this much; a 'come back later' costs 1. A line may spend FULL_COST × max_attempts."""


class Reason(StrEnum):
    """Why a line was not answered: bounded, for metrics and logs."""

    NONE = "none"
    # nobody was there
    NO_BACKEND = "no_backend"
    STALE = "stale_connection"
    PROXY_LOST = "proxy_lost"
    SHUTTING_DOWN = "shutting_down"
    OUT_OF_TIME = "out_of_time"
    NO_BODY = "no_body"
    NO_DESCRIPTORS = "no_descriptors"
    NO_MEDIA_YET = "media_unavailable"
    # the server was lost while it worked on the line
    RESET = "reset"
    TRUNCATED = "truncated"
    BACKEND_FAILED = "backend_failed"
    ENGINE_DEAD = "engine_dead"
    HUNG = "hung"
    # the operator's matter: the key, the way, what is served
    KEY_REFUSED = "key_refused"
    REDIRECTED = "redirected"
    NO_ENDPOINT = "no_endpoint"
    BODY_REFUSED = "body_refused"
    NO_SERVER = "no_model_server"
    MODEL_MISSING = "model_missing"
    # it has no time now
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    ABORTED = "aborted"
    STOPPING = "stopping"
    # it tried, and something went wrong
    TIMEOUT = "timeout"
    REQUEST_TIMEOUT = "request_timeout"
    CONFLICT = "conflict"
    TOO_EARLY = "too_early"
    SERVER_ERROR = "server_error"
    BAD_GATEWAY = "bad_gateway"
    GATEWAY_TIMEOUT = "gateway_timeout"
    MALFORMED = "malformed_answer"
    ERROR_IN_200 = "error_in_200"
    ENGINE_ERROR = "engine_error"
    ENGINE_FAULT = "engine_fault"
    FOREIGN = "foreign_answer"
    OUR_FAULT = "internal_error"
    # trying again would not help
    CLIENT_ERROR = "client_error"
    NO_MEDIA = "media_refused"
    MODEL_GONE = "model_gone"
    TOO_LARGE = "too_large"


class Then(StrEnum):
    """What becomes of the line."""

    RETRY = "retry"
    PAUSE = "pause"
    """Nobody can be reached: it waits at the head until somebody can."""
    FAIL = "fail"


class Counts(StrEnum):
    """Which of a line's counters moves. Each is bounded, but for NOTHING."""

    NOTHING = "nothing"
    PATIENCE = "a quarter"
    ATTEMPT = "an attempt"
    LOSS = "a loss"


_COSTS = {Counts.NOTHING: 0, Counts.PATIENCE: 1, Counts.ATTEMPT: FULL_COST, Counts.LOSS: 0}


class Wait(StrEnum):
    """How long until the next attempt."""

    NONE = "none"
    BACK_OFF = "back-off"
    """Full jitter: at random between nothing and `retry_base_s`, doubled each time to `retry_max_s`."""
    ASKED = "back-off or Retry-After"
    """The longer of the two."""
    LONGEST = "longest"
    """`retry_max_s`."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One row."""

    seen: str
    """What is observed, in words."""
    then: Then
    counts: Counts = Counts.NOTHING
    wait: Wait = Wait.NONE
    signal: Signal = Signal.NONE
    """What the circuit of the backend hears."""
    lacking: Lacking | None = None
    """What the backend lacks, by this."""
    code: str | None = None
    """What the line fails with at last where it has no answer; None: the model server's answer."""
    message: str = ""
    is_sure: bool = False
    """Whether a loss is certainly the server's end, and not only the connection's."""

    @property
    def cost(self) -> int:
        """What one such attempt takes of the FULL_COST × max_attempts of a line.

        A loss is counted later and elsewhere (`retrying`, `poison`).
        """
        return _COSTS[self.counts]


def _nobody(
    seen: str,
    wait: Wait = Wait.BACK_OFF,
    *,
    signal: Signal = Signal.NONE,
    lacking: Lacking | None = None,
) -> Policy:
    return Policy(seen, Then.RETRY, Counts.NOTHING, wait, signal, lacking)


def _loss(
    seen: str, code: str, message: str, *, signal: Signal = Signal.LOST, is_sure: bool = False
) -> Policy:
    return Policy(
        seen,
        Then.RETRY,
        Counts.LOSS,
        Wait.BACK_OFF,
        signal,
        code=code,
        message=message,
        is_sure=is_sure,
    )


def _try(seen: str, wait: Wait = Wait.ASKED) -> Policy:
    return Policy(seen, Then.RETRY, Counts.ATTEMPT, wait, Signal.ERROR)


_LOST = "The connection to the model server was lost, on every try."
_BROKE_OFF = "The model server's answer broke off, on every try."
_SLOW = "The model server did not answer within {seconds:g} s."
_OURS = "The dispatcher itself broke on this line, on every try: its log tells more."
_HUNG = "The model server hung while it had this line, on every try."
_GONE = "The model `{model}` does not exist. Served at present: {served}."
_NO_MEDIA = "The audio of this request was not sent: {why}."
_HUGE = "The model server's answer is too large to be stored."

POLICIES: dict[Reason, Policy] = {
    Reason.NO_BACKEND: Policy(
        "connection refused; nginx has no live backend", Then.PAUSE, signal=Signal.REFUSED
    ),
    Reason.STALE: _nobody(
        "connection closed at once, before any byte of an answer (once a line)", Wait.NONE
    ),
    Reason.PROXY_LOST: _nobody(
        "nginx closed the connection before any byte of an answer", signal=Signal.LOST
    ),
    Reason.SHUTTING_DOWN: _nobody(
        "5xx: the server is shutting down and takes nothing more", signal=Signal.REFUSED
    ),
    Reason.NO_BODY: _nobody("the disk does not give out the line's body"),
    Reason.NO_DESCRIPTORS: _nobody(
        "the dispatcher has no file descriptor left (`ulimit -n`): it was not sent"
    ),
    Reason.NO_MEDIA_YET: Policy(
        "the host of the line's `file_url` is late, broke off, or answers 408, 425, 429, 5xx: not sent",
        Then.RETRY,
        Counts.ATTEMPT,
        Wait.BACK_OFF,
        code="media_unavailable",
        message=_NO_MEDIA,
    ),
    Reason.OUT_OF_TIME: _nobody("no whole answer before the batch's deadline"),
    Reason.RESET: _loss(
        "connection lost before any byte of an answer (without nginx)", "upstream_lost", _LOST
    ),
    Reason.TRUNCATED: _loss("the answer broke off", "upstream_truncated", _BROKE_OFF),
    Reason.BACKEND_FAILED: _loss("nginx: the server broke off (502)", "upstream_lost", _LOST),
    Reason.ENGINE_DEAD: _loss(
        "5xx: the engine behind the server died", "upstream_lost", _LOST, is_sure=True
    ),
    Reason.HUNG: _loss(
        "the server hangs, and the line was taken away from it",
        "upstream_hung",
        _HUNG,
        signal=Signal.HUNG,
        is_sure=True,
    ),
    Reason.KEY_REFUSED: _nobody(
        "401, 402, 403, 407, 511: the server, or a proxy before it, refuses our key",
        signal=Signal.UNUSABLE,
    ),
    Reason.REDIRECTED: _nobody("3xx", lacking=Lacking.ENDPOINT),
    Reason.NO_ENDPOINT: _nobody(
        "404, 405 without an error object that speaks of the request", lacking=Lacking.ENDPOINT
    ),
    Reason.BODY_REFUSED: _nobody(
        "413 without an error object: a proxy refuses what is so long", lacking=Lacking.SIZE
    ),
    Reason.NO_SERVER: _nobody(
        "410, 421, 426, 431, 501 without JSON: whatever the line says, no model server is there",
        lacking=Lacking.ENDPOINT,
    ),
    Reason.MODEL_MISSING: _nobody(
        "404 with an error object that names the line's model", lacking=Lacking.MODEL
    ),
    Reason.RATE_LIMITED: _nobody("429", Wait.ASKED, signal=Signal.FULL),
    Reason.OVERLOADED: _nobody("503, 529", Wait.ASKED, signal=Signal.FULL),
    Reason.ABORTED: Policy(
        "200 that the engine gave up (`finish_reason` abort; a response cancelled, queued, in progress)",
        Then.RETRY,
        Counts.PATIENCE,
        Wait.BACK_OFF,
        Signal.ERROR,
    ),
    Reason.STOPPING: _nobody(
        "200 of `/v1/responses` from a server that is stopping: it may be cut short"
    ),
    Reason.TIMEOUT: Policy(
        "no whole answer within `request_timeout_s`",
        Then.RETRY,
        Counts.ATTEMPT,
        Wait.BACK_OFF,
        Signal.ERROR,
        code=TIMEOUT_CODE,
        message=_SLOW,
    ),
    Reason.REQUEST_TIMEOUT: _try("408"),
    Reason.CONFLICT: _try("409"),
    Reason.TOO_EARLY: _try("425"),
    Reason.SERVER_ERROR: _try("500, and every other 5xx but 501"),
    Reason.BAD_GATEWAY: _try("502 of the server's own"),
    Reason.GATEWAY_TIMEOUT: _try("504"),
    Reason.MALFORMED: _try(
        "200 without an answer: HTML, `{}`, no choices, too few embeddings, NaN", Wait.BACK_OFF
    ),
    Reason.ERROR_IN_200: _try("200 with an error object", Wait.BACK_OFF),
    Reason.ENGINE_ERROR: _try(
        "200 whose engine failed (`finish_reason` error, or an unknown one without content)",
        Wait.BACK_OFF,
    ),
    Reason.ENGINE_FAULT: _try(
        "4xx, 501 that tells of the engine: NaN in its figures, CUDA, out of memory"
    ),
    Reason.FOREIGN: _try(
        "any other 4xx without JSON: a page or a bare text is no model server's", Wait.BACK_OFF
    ),
    Reason.OUR_FAULT: Policy(
        "the dispatcher's own bug",
        Then.RETRY,
        Counts.ATTEMPT,
        Wait.LONGEST,
        code="internal_error",
        message=_OURS,
    ),
    Reason.CLIENT_ERROR: Policy(
        "any other 4xx, 501 with JSON; 422 with a text", Then.FAIL, signal=Signal.REJECTED
    ),
    Reason.NO_MEDIA: Policy(
        "the line's `file_url` names a host that is not allowed, a file that is not there or too large, or "
        "no base64: not sent",
        Then.FAIL,
        code="media_refused",
        message=_NO_MEDIA,
    ),
    Reason.MODEL_GONE: Policy(
        "no living server has served the line's model for `model_grace_s`: 404 `model_not_found`",
        Then.FAIL,
        message=_GONE,
    ),
    Reason.TOO_LARGE: Policy(
        "an answer too large to be stored",
        Then.FAIL,
        signal=Signal.REJECTED,
        code="answer_too_large",
        message=_HUGE,
    ),
}
"""The table: total over Reason (but NONE), by test."""

BREAKS: dict[Break, Reason] = {
    Break.CONNECT: Reason.NO_BACKEND,
    Break.RESET: Reason.RESET,
    Break.TRUNCATED: Reason.TRUNCATED,
    Break.TIMEOUT: Reason.TIMEOUT,
    Break.OUT_OF_TIME: Reason.OUT_OF_TIME,
    Break.TOO_LARGE: Reason.TOO_LARGE,
    Break.NO_DESCRIPTORS: Reason.NO_DESCRIPTORS,
    Break.HUNG: Reason.HUNG,
}
"""What each kind of break is; total over Break, by test."""

_STATUSES = {
    401: Reason.KEY_REFUSED,
    402: Reason.KEY_REFUSED,
    403: Reason.KEY_REFUSED,
    407: Reason.KEY_REFUSED,
    408: Reason.REQUEST_TIMEOUT,
    409: Reason.CONFLICT,
    425: Reason.TOO_EARLY,
    429: Reason.RATE_LIMITED,
    501: Reason.CLIENT_ERROR,
    511: Reason.KEY_REFUSED,
    502: Reason.BAD_GATEWAY,
    503: Reason.OVERLOADED,
    504: Reason.GATEWAY_TIMEOUT,
    529: Reason.OVERLOADED,
}


def of_status(status: int) -> Reason:
    """Name the row of an HTTP status that is no 2xx, where its body says nothing more."""
    if status in _STATUSES:
        return _STATUSES[status]
    if status < HTTPStatus.BAD_REQUEST:
        return Reason.REDIRECTED
    is_server = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return Reason.SERVER_ERROR if is_server else Reason.CLIENT_ERROR
