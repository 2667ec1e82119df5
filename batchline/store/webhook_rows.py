"""Rows of webhooks to records and back, as `repo`."""

from __future__ import annotations

from typing import Any

import msgspec

from batchline.webhooks.addresses import origin_of
from batchline.webhooks.records import (
    Ask,
    ClaimedDelivery,
    Delivery,
    DeliveryState,
    Endpoint,
    Event,
    EventType,
    OutboxFigures,
)

from .repo import Row

_SAME = (
    "id",
    "name",
    "url",
    "secret",
    "created_at",
    "updated_at",
    "old_secret",
    "old_secret_until",
)


def endpoint_row(endpoint: Endpoint) -> dict[str, Any]:
    """Write a row of `webhook_endpoints`, one that was never changed."""
    types = msgspec.json.encode(list(endpoint.event_types)).decode()
    row = {name: getattr(endpoint, name) for name in _SAME}
    return row | {"event_types": types, "origin": origin_of(endpoint.url)}


def to_endpoint(row: Row) -> Endpoint:
    """Read one row of `webhook_endpoints`."""
    types = msgspec.json.decode(row["event_types"], type=list[EventType])
    return Endpoint(event_types=types, **{name: row[name] for name in _SAME})


def to_delivery(row: Row) -> Delivery:
    """Read one row of `deliveries` beside its event."""
    return Delivery(
        number=row["number"],
        event=Event(row["event_id"], EventType(row["type"]), row["happened_at"], row["batch_id"]),
        ask=Ask(row["ask"]),
        endpoint_id=row["endpoint_id"],
        url=row["url"],
        state=DeliveryState(row["state"]),
        attempts=row["attempts"],
        due_at=row["due_at"],
        since=row["since"],
        last_status=row["last_status"],
        last_error=row["last_error"],
        ended_at=row["ended_at"],
        is_replayable=bool(row["is_replayable"]),
        lines_done=row["lines_done"],
        lines_total=row["lines_total"],
        leased_until=row["leased_until_ms"] / 1000,
    )


def to_metadata(row: Row) -> dict[str, str]:
    """Read the metadata of an event's batch; none if it is forgotten."""
    return msgspec.json.decode(row["metadata"] or "{}", type=dict[str, str])


def to_figures(row: Row) -> OutboxFigures:
    """Read what `outbox_figures` counts."""
    return OutboxFigures(row["pending"], row["oldest_since"], row["given_up"])


def to_claimed(row: Row, token: int, *, now: int) -> ClaimedDelivery:
    """Read one row of `deliveries` beside its event and its endpoint."""
    secrets = [row["secret"]] if row["secret"] else []
    if row["old_secret"] and now < row["old_secret_until"]:
        secrets.append(row["old_secret"])
    return ClaimedDelivery(
        to_delivery(row), token, secrets, checkpoint=row["checkpoint"], deaths=row["deaths"]
    )
