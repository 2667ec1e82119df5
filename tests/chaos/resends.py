"""Invariants about sending lines: a line is sent again only for a reason that is on record."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from .faults import HARMLESS, SICK, STALLS, Fate, Fault
from .history import Disturbance, History, Send

_UNDER_WAY_S = 0.3
"""What was sent before a look may arrive so much after it."""
_GRACE_S = 2.0
"""After a cancel was acknowledged, so much later nothing is sent any more."""
_SLACK_S = 0.5
_NEARLY = 0.8
"""The dispatcher counts from before the request arrives."""
_DISPATCH = frozenset({"dispatcher", "second", "nginx", "disk", "clock", "machine"})
_WORDS = {
    "retry": "a retry of the batch",
    "busy": "a processor that was not to be had",
    "down": "{}: down",
    "frozen": "{}: stopped",
}
_STALLING = frozenset({"frozen", "full", "read-only", "jump", "busy"})


def _own(history: History) -> dict[str, list[Send]]:
    """Return each line's sends in order."""
    sends = defaultdict(list)
    for send in history.sends:
        sends[send.tag].append(send)
    return sends


def nothing_that_is_settled_is_sent_again(history: History) -> Iterator[str]:
    """Once a line's outcome is in the database, no model server sees the line again."""
    settled: dict[str, float] = {}
    for look in history.looks:
        for batch, lines in look.settled.items():
            for line in lines:
                settled.setdefault(f"{batch}/{line}", look.at)
    ends = _retried(history)
    for tag, sends in _own(history).items():
        if tag not in settled:
            continue
        since = settled[tag]
        for send in sends:
            is_late = send.at > since + _UNDER_WAY_S
            is_own = send.at < ends.get(tag.partition("/")[0], float("inf"))
            if is_late and is_own and not _is_stalled(history, since - _SLACK_S, send.at):
                yield f"{tag} was settled, and sent again {send.at - since:.2f} s later"


def _retried(history: History) -> dict[str, float]:
    return {d.target: d.began_at for d in history.disturbances if d.kind == "retry"}


def _is_stalled(history: History, since: float, until: float) -> bool:
    """Tell whether somebody may have slept on what he was about to send."""
    return any(
        d.kind in _STALLING and d.target in _DISPATCH and d.overlaps(since, until)
        for d in history.disturbances
    )


def what_is_sent_again_is_explained(history: History) -> Iterator[str]:
    """Each resend follows a fault dealt to the line, or something that befell who carried it."""
    errors = sum(action == "error" and point.startswith("send.") for point, action in history.fired)
    for earlier, later, why in _resends(history):
        if why:
            continue
        if errors:
            errors -= 1
            continue
        yield (
            f"{later.tag} was sent again {later.at - earlier.at:.2f} s after it was "
            f"{earlier.dealt} ({earlier.end}), for no reason"
        )


def reasons(history: History) -> Counter[str]:
    """Count what made lines be sent again."""
    return Counter(why or "a failpoint's error, or nothing known" for *_, why in _resends(history))


def _resends(history: History) -> Iterator[tuple[Send, Send, str | None]]:
    """Yield each send with the one before it, and what explains it.

    Another server's opinion of a refused line is asked for once, and once more when the line is run again
    for any other reason.
    """
    for sends in _own(history).values():
        has_second = False
        for earlier, later in pairwise(sends):
            why = _why_again(history, earlier, later)
            is_opinion = earlier.dealt == Fate.REFUSED and later.upstream != earlier.upstream
            if has_second := why is None and is_opinion and not has_second:
                why = "a second opinion"
            yield earlier, later, why


def cost_a_try(history: History, send: Send) -> bool:
    """Tell whether this send went wrong by itself: a fault, a server that died, no answer in time."""
    if send.dealt in set(Fault) - HARMLESS or send.end == "cut":
        return True
    open_s = (send.ended_at or send.at) - send.at
    return send.end == "left" and open_s > _timeout_s(history) * _NEARLY


def _timeout_s(history: History) -> float:
    return float(dict(history.schedule.settings)["request_timeout_s"])


def _why_again(history: History, earlier: Send, later: Send) -> str | None:
    if cost_a_try(history, earlier) or earlier.dealt == Fate.BROKEN:
        return "a fault of the model server"
    if earlier.dealt in SICK:
        return "a sick model server"
    timeout_s = _timeout_s(history)
    for done in history.disturbances:
        if _may_cost(done, earlier, later, timeout_s):
            return _WORDS.get(done.kind, "what befell {}").format(done.target.rstrip("0123456789"))
    if earlier.end != "delivered" and _sat_beside_a_stall(history, earlier):
        return "a model server that hung"
    return None


def _may_cost(done: Disturbance, earlier: Send, later: Send, timeout_s: float) -> bool:
    if done.kind == "retry":
        is_own = earlier.tag.partition("/")[0] == done.target
        return is_own and done.overlaps(earlier.at, later.at)
    if done.kind == "busy":  # who has no processor reads an answer too late: a timeout
        lasted_s = (done.ended_at or later.at) - done.began_at
        is_timeout = later.at - earlier.at + lasted_s > timeout_s
        return is_timeout and done.overlaps(earlier.at, later.at, _SLACK_S)
    if done.kind == "sick":
        return False  # what it was asked meanwhile says so by itself
    is_carrier = done.target in _DISPATCH or done.target == f"upstream{earlier.upstream}"
    return is_carrier and done.overlaps(earlier.at, later.at, _SLACK_S)


def _sat_beside_a_stall(history: History, send: Send) -> bool:
    """Tell whether its server was hanging on another line: it may have been taken out for that."""
    until = send.ended_at or float("inf")
    return any(
        other.dealt in STALLS
        and other.upstream == send.upstream
        and other.at <= until
        and (other.ended_at or float("inf")) >= send.at
        for other in history.sends
    )


def nothing_starts_after_a_cancel(history: History) -> Iterator[str]:
    """Once a cancel was acknowledged (and a grace is over) no line of the batch is sent."""
    own = _own(history)
    again = _retried(history)
    for result in history.results.values():
        if result.cancelled_at is None:
            continue
        for tag in result.tags:
            for send in own.get(tag, ()):
                late_s = send.at - result.cancelled_at
                is_own = send.at < again.get(result.name, float("inf"))
                if late_s > _GRACE_S and is_own and not _woke(history, result.cancelled_at, send):
                    yield f"{tag} was sent {late_s:.2f} s after its batch was cancelled"


def _woke(history: History, since: float, send: Send) -> bool:
    """Tell whether a stall ended since the cancel, shortly before this was sent."""
    return any(
        d.kind in _STALLING | {"down"}
        and d.target in _DISPATCH
        and d.overlaps(max(since, send.at - _GRACE_S), send.at)
        for d in history.disturbances
    )
