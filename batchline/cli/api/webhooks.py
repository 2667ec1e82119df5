"""Webhook endpoints, and deliveries to them and to handlers, as the API shows them.

Fields are checked, as those of batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchline.cli.failure import ExitCode, Failure
from batchline.webhooks.addresses import host_of
from batchline.webhooks.records import EventType

from .batch import Json, identity
from .client import Client, segment

_PAGE = 100
_ENDPOINTS = "/v1/webhook_endpoints"
_DELIVERIES = "/v1/deliveries"


@dataclass(frozen=True, slots=True)
class ApiEndpoint:
    """What the commands show of an endpoint. `raw` is the server's object, for --json."""

    raw: Mapping[str, Any]
    id: str
    name: str
    url: str
    event_types: Sequence[str]
    hint: str
    """The end of its secret."""
    secret: str
    """Empty but where it was made just now."""
    created_at: int | None


@dataclass(frozen=True, slots=True)
class ApiDelivery:
    """What the commands show of a delivery. `raw` is the server's object, for --json."""

    raw: Mapping[str, Any]
    id: str
    event_type: str
    batch_id: str
    host: str
    """Of the URL that it goes to; empty where it goes to a handler."""
    handler: str
    state: str
    attempts: int | None
    lines_done: int | None
    lines_total: int | None
    next_attempt_at: int | None
    last_error: str


class Webhooks:
    """The part of the API that is about webhook endpoints."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def endpoints(self) -> Iterator[ApiEndpoint]:
        """Yield all endpoints, newest first, a page at a time."""
        return map(_endpoint, _walk(self._client, _ENDPOINTS))

    def endpoint(self, endpoint_id: str) -> ApiEndpoint:
        """Return one endpoint. Raises Failure if there is none."""
        return _endpoint(self._client.ask("GET", _path(endpoint_id)))

    def add(self, name: str, url: str, event_types: Sequence[EventType]) -> ApiEndpoint:
        """Create an endpoint; what is returned holds its secret."""
        body = {"name": name, "url": url, "event_types": [str(one) for one in event_types]}
        return _endpoint(self._client.ask("POST", _ENDPOINTS, json=body))

    def delete(self, endpoint_id: str) -> Json:
        """Delete an endpoint."""
        return self._client.ask("DELETE", _path(endpoint_id))

    def rotate(self, endpoint_id: str, *, keep_old: bool) -> ApiEndpoint:
        """Give an endpoint a new secret, which what is returned holds."""
        body = {"keep_old_secret_active_for_24_hours": keep_old}
        return _endpoint(self._client.ask("POST", f"{_path(endpoint_id)}/rotate_secret", json=body))

    def test(self, endpoint_id: str, event_type: EventType) -> Json:
        """Send an endpoint an event of no batch, and return what came of it."""
        body = {"event_type": str(event_type)}
        return self._client.ask("POST", f"{_path(endpoint_id)}/test", json=body)


class Deliveries:
    """The part of the API that is about deliveries."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def all(
        self, *, endpoint_id: str | None = None, batch_id: str | None = None
    ) -> Iterator[ApiDelivery]:
        """Yield deliveries to the endpoint, of the batch, or all; the last made first."""
        path = _DELIVERIES
        if endpoint_id is not None:
            path = f"{_path(endpoint_id)}/deliveries"
        elif batch_id is not None:
            path = f"/v1/batches/{segment(batch_id)}/deliveries"
        return map(_delivery, _walk(self._client, path))

    def replay(self, delivery_id: str) -> ApiDelivery:
        """Make a delivery pending and due at once. Raises Failure if there is none."""
        return _delivery(self._client.ask("POST", f"{_DELIVERIES}/{segment(delivery_id)}/replay"))


def _walk(client: Client, path: str) -> Iterator[Json]:
    after: str | None = None
    while True:
        params = {"limit": str(_PAGE)} | ({"after": after} if after else {})
        page = client.ask("GET", path, params=params)
        items = page.get("data") or []
        yield from items
        if not items or page.get("has_more") is not True:
            return
        after = _identity(items[-1], "list")


def _path(endpoint_id: str) -> str:
    return f"{_ENDPOINTS}/{segment(endpoint_id)}"


def _endpoint(raw: Any) -> ApiEndpoint:
    endpoint_id = _identity(raw, "webhook endpoint")
    types = raw.get("event_types")
    return ApiEndpoint(
        raw=raw,
        id=endpoint_id,
        name=_text(raw, "name"),
        url=_text(raw, "url"),
        event_types=[str(one) for one in types] if isinstance(types, list) else [],
        hint=_text(raw, "signing_secret_hint"),
        secret=_text(raw, "signing_secret"),
        created_at=_integer(raw, "created_at"),
    )


def _delivery(raw: Any) -> ApiDelivery:
    delivery_id = _identity(raw, "delivery")
    event = raw.get("event")
    event = event if isinstance(event, dict) else {}
    return ApiDelivery(
        raw=raw,
        id=delivery_id,
        event_type=_text(event, "type"),
        batch_id=_text(event, "batch_id"),
        host=host_of(_text(raw, "url")),
        handler=_text(raw, "handler"),
        state=_text(raw, "state"),
        attempts=_integer(raw, "attempts"),
        lines_done=_integer(raw, "lines_done"),
        lines_total=_integer(raw, "lines_total"),
        next_attempt_at=_integer(raw, "next_attempt_at"),
        last_error=_text(raw, "last_error"),
    )


def _identity(raw: Any, kind: str) -> str:
    try:
        return identity(raw["id"])
    except (KeyError, TypeError, ValueError) as exc:
        raise Failure(
            f"The server's answer is not a {kind}.",
            why="It has no id.",
            remedy="check that --url names a batchline gateway of this version",
            code=ExitCode.UNREACHABLE,
        ) from exc


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    return value if isinstance(value, str) else ""


def _integer(raw: Mapping[str, Any], key: str) -> int | None:
    value = raw.get(key)
    return value if isinstance(value, int) else None
