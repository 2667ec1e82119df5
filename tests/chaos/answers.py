"""Invariants about the API: what clients saw, throughout."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from .history import Call, History

_SLACK_S = 1.0
"""A death is seen by its client a little before it is on record."""
_TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})
_NEXT = {
    "validating": {"in_progress", "failed", "finalizing", "cancelling"} | _TERMINAL,
    "in_progress": {"finalizing", "cancelling"} | _TERMINAL,
    "finalizing": {"completed", "expired", "cancelling", "cancelled", "failed"},
    "cancelling": {"cancelled", "failed"},
}
_STAMPS = ("created_at", "in_progress_at", "finalizing_at", "cancelling_at")
_ENDS = ("completed_at", "failed_at", "expired_at", "cancelled_at")
_FINE_4XX = {
    "POST /v1/batches": {409},  # its batch was deleted
    "POST /v1/batches/{id}/cancel": {404, 409},
    "POST /v1/batches/{id}/finalize": {404},
    "POST /v1/batches/{id}/pause": {404, 409},
    "POST /v1/batches/{id}/requests": {404, 409},
    "POST /v1/batches/{id}/resume": {404, 409},
    "DELETE /v1/batches/{id}": {404, 409},
    "DELETE /v1/files/{id}": {404},
    "GET /v1/batches/{id}": {404},
    "GET /v1/batches/{id}/results": {404},
}
_STORAGE = frozenset({"full", "read-only", "busy"})


def what_clients_see_only_moves_forward(history: History) -> Iterator[str]:
    """Statuses in their order, counts never down, stamps in order, nothing after an end."""
    seen: dict[str, dict] = {}
    for call in history.calls:
        if call.status != 200 or call.body is None or "request_counts" not in call.body:
            continue
        before, now = seen.get(call.batch), call.body
        yield from _stamps(call.batch, now)
        seen[call.batch] = now
        if before is None:
            continue
        yield from _moves(call.batch, before, now)


def _moves(name: str, before: dict, now: dict) -> Iterator[str]:
    was, is_ = before["status"], now["status"]
    if was in _TERMINAL:
        if before != now:
            changed = sorted(k for k in now if before.get(k) != now.get(k))
            yield f"{name} was {was} and changed {', '.join(changed)}"
        return
    if is_ != was and is_ not in _NEXT[was]:
        yield f"{name} went from {was} to {is_}"
    for count in ("total", "completed", "failed"):
        old, new = before["request_counts"][count], now["request_counts"][count]
        may_grow = count != "total" or not old or before.get("open")
        if new < old or (new != old and not may_grow):
            yield f"{name}: {count} went from {old} to {new}"


def _stamps(name: str, batch: dict) -> Iterator[str]:
    stamps = [batch[s] for s in _STAMPS if batch.get(s)]
    stamps += [batch[s] for s in _ENDS if batch.get(s)]
    if stamps != sorted(stamps):
        yield f"{name}: its stamps are out of order: {stamps}"


def no_answer_is_dishonest(history: History) -> Iterator[str]:
    """No 5xx but 503 and 507 with a reason, every error in OpenAI's shape, no 4xx out of place."""
    failures = sum(action == "error" for _, action in history.fired)
    for call in history.calls:
        if call.status is None or call.status < 400:
            continue
        if call.trouble:
            yield f"{call.verb} {call.status}: {call.trouble}"
        elif call.status < 500:
            if call.status not in _FINE_4XX.get(call.verb, ()):
                yield f"{call.verb} was answered with {call.status}"
        elif call.status not in {503, 507}:
            yield f"{call.verb} was answered with {call.status}"
        elif call.verb == "GET /ready" or _is_excused(history, call):
            continue
        elif failures:
            failures -= 1
        else:
            yield f"{call.verb} was answered with {call.status}, and storage was in order"


def _is_excused(history: History, call: Call) -> bool:
    return any(
        (d.kind in _STORAGE or (d.kind == "frozen" and d.target != "nginx"))
        and d.overlaps(call.began_at, call.ended_at, _SLACK_S)
        for d in history.disturbances
    ) or (call.verb == "GET /v1/models" and _has_no_backend(history, call))


def _has_no_backend(history: History, call: Call) -> bool:
    """Tell whether the dispatcher, or the servers, may have been away a moment ago."""
    return any(
        (d.target.startswith("upstream") or d.target in {"dispatcher", "nginx", "clock"})
        and d.overlaps(call.began_at, call.ended_at, 5.0)
        for d in history.disturbances
    )


def the_gateway_answers_unless_it_is_down(history: History) -> Iterator[str]:
    """A request goes unanswered only while the gateway is known to be down, or stopped."""
    away = defaultdict(list)
    for d in history.disturbances:
        if d.target in {"gateway", "machine"} and d.kind in {"down", "frozen", "busy", "stopped"}:
            away[d.target].append(d)
    for call in history.calls:
        if call.status is not None:
            continue
        down = any(
            d.overlaps(call.began_at, call.ended_at, _SLACK_S) for ds in away.values() for d in ds
        )
        if not down:
            yield f"{call.verb} was not answered: {call.trouble}"
