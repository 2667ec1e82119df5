"""Invariants about deliveries: the receiver of webhooks hears the end of each batch, and nothing else."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime

from standardwebhooks import Webhook

from .history import ENDPOINT, History, Result, Told

_TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})


def every_end_is_told(history: History) -> Iterator[str]:
    """The endpoint takes an event of each batch, and the callback of a batch that asked for one."""
    if history.stuck:
        return
    taken = {(told.asked_by, _batch(told)) for told in history.told if told.is_taken}
    for result in history.results.values():
        if not result.batch_id:
            continue
        for asked_by in _asking(history, result):
            if (asked_by, result.batch_id) not in taken:
                yield f"{asked_by} never took the end of {result.name} ({result.batch_id})"


def what_is_told_has_happened(history: History) -> Iterator[str]:
    """Each event tells to one who asked for it how a batch ended that has ended so."""
    results = {result.batch_id: result for result in history.results.values() if result.batch_id}
    ends = _ends(history)
    for told in history.told:
        if (result := results.get(_batch(told))) is None:
            yield f"{told.asked_by} was told of {_batch(told)!r}, which nobody made"
            continue
        if told.asked_by not in _asking(history, result):
            yield f"{told.asked_by} was told of {result.name}, and had not asked"
        ended = ends.get(result.name)  # unknown of one that was deleted before it was seen to end
        possible = {f"batch.{status}" for status in ([ended] if ended else _TERMINAL)}
        if _event(told).get("type") not in possible:
            yield f"{told.asked_by} was told {_event(told).get('type')} of {result.name}: {ended}"


def a_batch_has_one_event(history: History) -> Iterator[str]:
    """Whoever is told, and however often: its id stands in bodies and headers, is a handler's key, and no other's."""
    ids = defaultdict(set)
    for told in history.told:
        ids[_batch(told)] |= {told.headers.get("webhook-id"), _event(told).get("id")}
    for run in history.handled:
        ids[run.batch_id].add(run.key)
    for noted in history.at_rest.handled if history.at_rest is not None else ():
        ids[noted.batch_id].add(noted.event_id)
    for batch, found in ids.items():
        if len(found) > 1:
            yield f"the end of {batch} was told as {', '.join(sorted(map(str, found)))}"
    if len(set().union(*ids.values())) < len(ids):
        yield f"the ends of different batches were told as one: {dict(ids)}"


def what_is_told_is_signed(history: History) -> Iterator[str]:
    """With the secret of who asked for it, over the body as it came."""
    for told in history.told:
        if not _is_signed(told, history.secrets.get(told.asked_by)):
            yield f"what {told.asked_by} was told of {_batch(told)} is not signed with its secret"


def nothing_is_left_undelivered(history: History) -> Iterator[str]:
    """In the end no event waits, and none was given up."""
    if history.at_rest is not None:
        yield from history.at_rest.undelivered


def _asking(history: History, result: Result) -> tuple[str, ...]:
    """Return who asked for the end of a batch; one that is run again keeps its callback."""
    first = result.name.partition("-")[0]
    return (ENDPOINT, first) if first in history.schedule.callbacks else (ENDPOINT,)


def _ends(history: History) -> dict[str, str]:
    """Return how each batch was seen to end, by name."""
    shown = [(call.batch, call.body) for call in history.calls if call.status == 200]
    shown += [(result.name, result.final) for result in history.results.values()]
    return {
        name: body["status"] for name, body in shown if body and body.get("status") in _TERMINAL
    }


def _event(told: Told) -> dict:
    try:
        return json.loads(told.body)
    except ValueError:
        return {}


def _batch(told: Told) -> str | None:
    return _event(told).get("data", {}).get("id")


def _is_signed(told: Told, secret: str | None) -> bool:
    """Sign anew and compare. The library's `verify` asks for a time near its own; these clocks jump."""
    if secret is None:
        return False
    try:
        at = datetime.fromtimestamp(int(told.headers["webhook-timestamp"]), UTC)
        event_id, signatures = told.headers["webhook-id"], told.headers["webhook-signature"]
    except (KeyError, ValueError):
        return False
    return Webhook(secret).sign(event_id, at, told.body) in signatures.split(" ")
