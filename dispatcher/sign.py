"""What the end of a line tells of its backend: verdicts as the circuits hear them."""

from __future__ import annotations

from .circuit import Sign
from .upstream import NGINX_GROUP, Break, Broken, Reply
from .verdict import Failed, NoBackend, Reason, Retry, Succeeded, Verdict

_BAD_GATEWAY = 502
_BROKE_OFF = b'"code":"backend_failed"'
_OF_RETRIES = {
    Reason.RESET: Sign.LOST,
    Reason.TRUNCATED: Sign.LOST,
    Reason.SERVER_ERROR: Sign.SOUR,
    Reason.MALFORMED: Sign.SOUR,
}


def sign_of(reply: Reply | Broken, verdict: Verdict) -> Sign:
    """Say what this reply tells of the backend that it came from."""
    if isinstance(reply, Reply) and reply.status == _BAD_GATEWAY and _BROKE_OFF in reply.body[:500]:
        return Sign.LOST
    match verdict:
        case Succeeded() | Failed():
            return Sign.WELL
        case NoBackend():
            return Sign.REFUSED
        case Retry(_, reason):
            return _OF_RETRIES.get(reason, Sign.NOTHING)


def why_of(reply: Reply | Broken) -> str:
    """Say in a few words what happened, for people."""
    if isinstance(reply, Broken):
        does = "takes no connections" if reply.how is Break.CONNECT else "broke off"
        return f"{does} ({reply.detail})"
    return (
        "takes no connections" if reply.backends == (NGINX_GROUP,) else f"answered {reply.status}"
    )
