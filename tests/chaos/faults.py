"""What can go wrong between a server and its client, by name. Pure words.

`witness` deals them as model servers, `receiver` as the receiver of webhooks, `handler` as one of results.
"""

from __future__ import annotations

from enum import StrEnum

from benchmarks import sickness


class Fault(StrEnum):
    """One way to treat one request."""

    RATE_LIMITED = "429"
    RATE_LIMITED_WAIT = "429, Retry-After"
    SERVER_ERROR = "500"
    LOADING = "503, loading"
    RESET = "reset before headers"
    RESET_IN_BODY = "reset after headers"
    TRUNCATED = "truncated body"
    HANG = "hang"
    LORIS = "slow loris"
    HTML = "HTML in a 200"
    HTML_ERROR = "HTML in a 502"
    ERROR_IN_200 = "error object in a 200"
    NO_CHOICES = "no choices in a 200"
    SLOW = "slow, whole answer"


HARMLESS = frozenset({Fault.SLOW})
"""The answer comes whole: nothing has to be sent again."""
BREAKS_CONNECTION = frozenset({Fault.RESET, Fault.RESET_IN_BODY, Fault.TRUNCATED})
"""To its client, the server may have died of this line."""
STALLS = frozenset({Fault.HANG, Fault.LORIS})
"""Costs a whole request timeout."""


SICK = {f"sick: {form.name}": form for form in sickness.FORMS if form.endpoint == sickness.CHAT}
"""How a model server may be sick for a while, by what a line is dealt then."""
REFUSAL = "This prompt is too long."
"""What a refused line hears, and from a well server only."""


class Fate(StrEnum):
    """What becomes of a line once its faults are dealt."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """400, for good: it must be in the error file."""
    BROKEN = "broken"
    """500 whenever it is sent: it must be in the error file once its attempts are spent."""


class Reception(StrEnum):
    """What the receiver of webhooks does with what it is told."""

    TAKEN = "200"
    ERROR = "500"
    REDIRECT = "302"
    SLOW = "slow"
    """200, in the end."""
    CUT = "cut"
    """The connection is reset, and no answer comes."""


TAKES = frozenset({Reception.TAKEN, Reception.SLOW})


class Failure(StrEnum):
    """How an attempt of the handler ends that does not end well."""

    KILLED = "kill -9"
    LEFT = "exit"
    """Its process ends as if all were well, and says nothing."""
    RAISED = "raise"
