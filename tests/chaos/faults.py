"""What can go wrong between a model server and its client, by name. Pure words; `witness` deals them."""

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
