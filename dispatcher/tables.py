"""The tables of docs/retries.md, made from what the dispatcher does; `make docs` writes them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from dispatcher.backends.circuit import Signal
from dispatcher.replies.policy import POLICIES, Counts, Policy, Reason, Then
from dispatcher.replies.upstream import Reply
from dispatcher.replies.verdict import Setting, Succeeded, judge

STATUSES = range(300, 600)
BODIES: dict[str, bytes] = {
    "OpenAI's error object": b'{"error": {"message": "Bad value.", "type": "x", "code": null}}',
    "a flat one": b'{"object": "error", "message": "Bad value.", "type": "x", "code": null}',
    "FastAPI's list": b'{"detail": [{"msg": "field required"}]}',
    "FastAPI's detail": b'{"detail": "Not Found"}',
    "HTML": b"<html>no</html>",
    "a text": b"no",
    "nothing": b"",
}
"""The forms that the body of an error answer comes in."""
_ALL = tuple(BODIES)


def retry_table() -> str:
    """Render the rows of the retry policy as Markdown."""
    rows = ["| seen | reason | then | counts | wait | circuit | fails at last with |"]
    rows.append("|---|---|---|---|---|---|---|")
    for reason, row in POLICIES.items():
        wait = row.wait if row.then is Then.RETRY else "–"
        end = "–" if not _can_fail(row) else f"`{row.code}`" if row.code else "the server's answer"
        cells = (row.seen, f"`{reason}`", row.then, row.counts, wait, _hears(row), end)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def status_table() -> str:
    """Render what becomes of a line for each error status and form of body, as Markdown."""
    rows = [
        "| status | body | reason | one backend | two that say the same | the other one answers |"
    ]
    rows.append("|---|---|---|---|---|---|")
    for statuses, by_reason in _like_statuses():
        for reason, bodies in by_reason.items():
            shown = "any" if bodies == _ALL else ", ".join(bodies)
            cells = (_ranges(statuses), shown, f"`{reason}`", *fates(reason))
            rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def reason_of(status: int, body: bytes) -> Reason:
    """Return the row of an error answer that says nothing of a model or an engine."""
    reply = Reply(status, body, "", None, (), 0.0)
    verdict = judge(reply, Setting(now=0.0, endpoint="/v1/chat/completions", request=b"{}"))
    assert not isinstance(verdict, Succeeded), "only 2xx are"
    return verdict.reason


def fates(reason: Reason) -> tuple[str, str, str]:
    """Say what becomes of the line: with one backend; with two that say the same; if the other answers."""
    row = POLICIES[reason]
    if row.then is Then.FAIL:
        return "fails", "fails, as the other one agrees", "answered by the other one"
    elsewhere = "goes to the other one"
    if row.counts is Counts.NOTHING:
        return "waits", "waits", elsewhere
    tried = "tried again, fails at last"
    return tried, tried, elsewhere


def _like_statuses() -> Iterator[tuple[list[int], dict[Reason, tuple[str, ...]]]]:
    """Yield statuses that are judged alike, by their first, and which bodies mean what there."""
    alike: dict[tuple[tuple[Reason, tuple[str, ...]], ...], list[int]] = {}
    for status in STATUSES:
        found: dict[Reason, tuple[str, ...]] = {}
        for name, body in BODIES.items():
            reason = reason_of(status, body)
            found[reason] = (*found.get(reason, ()), name)
        alike.setdefault(tuple(found.items()), []).append(status)
    for key, statuses in alike.items():
        yield statuses, dict(key)


def _ranges(numbers: list[int]) -> str:
    runs = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    spans = [[number for _, number in run] for _, run in runs]
    return ", ".join(str(s[0]) if len(s) == 1 else f"{s[0]}-{s[-1]}" for s in spans)


def _hears(row: Policy) -> str:
    if row.lacking is not None:
        return f"lacks: {row.lacking}"
    return "–" if row.signal is Signal.NONE else row.signal


def _can_fail(row: Policy) -> bool:
    return row.then is Then.FAIL or row.counts is not Counts.NOTHING
