"""Webhook endpoints and deliveries, as clients see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from batchline.webhooks.records import (
    Delivery,
    DeliveryState,
    Endpoint,
    EventType,
    delivery_id,
    hint_of,
)


class WebhookEndpointObject(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint, as clients see it; its secret only when it is new."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    created_at: int
    event_types: Sequence[str]
    name: str
    signing_secret: str | UnsetType = UNSET
    signing_secret_hint: str
    url: str
    updated_at: int


class WebhookTestObject(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver answered to an event that was sent as a test."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    webhook_endpoint_id: str
    event_type: str
    status_code: int
    success: Literal[True] = True


class WebhookEventTypeList(msgspec.Struct, frozen=True, kw_only=True):
    """All types of events."""

    object: Literal["list"] = "list"
    data: Sequence[str]


class EventSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The event that a delivery tells."""

    id: str
    type: str
    created_at: int
    batch_id: str


class DeliveryObject(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery, as clients see it: an extension."""

    id: str
    object: Literal["delivery"] = "delivery"
    event: EventSummary
    url: str | None
    handler: str | None
    asked_by: str
    state: str
    attempts: int
    lines_done: int | None
    lines_total: int | None
    next_attempt_at: int | None
    last_status_code: int | None
    last_error: str | None
    created_at: int
    ended_at: int | None


def endpoint_object(endpoint: Endpoint, *, is_secret_new: bool = False) -> WebhookEndpointObject:
    """Show an endpoint to a client."""
    return WebhookEndpointObject(
        id=endpoint.id,
        created_at=endpoint.created_at,
        event_types=[kind.value for kind in endpoint.event_types],
        name=endpoint.name,
        signing_secret=endpoint.secret if is_secret_new else UNSET,
        signing_secret_hint=hint_of(endpoint.secret),
        url=endpoint.url,
        updated_at=endpoint.updated_at,
    )


def event_type_list() -> WebhookEventTypeList:
    """Show the types of events that are told."""
    return WebhookEventTypeList(data=[kind.value for kind in EventType])


def delivery_object(delivery: Delivery) -> DeliveryObject:
    """Show a delivery to a client."""
    event, handler = delivery.event, delivery.handler
    is_pending = delivery.state is DeliveryState.PENDING
    return DeliveryObject(
        id=delivery_id(delivery.number),
        event=EventSummary(
            id=event.id,
            type=event.type.value,
            created_at=event.created_at,
            batch_id=event.batch_id,
        ),
        url=delivery.url if handler is None else None,
        handler=handler,
        asked_by=delivery.ask.value,
        state=delivery.state.value,
        attempts=delivery.attempts,
        lines_done=None if handler is None else delivery.lines_done,
        lines_total=None if handler is None else delivery.lines_total,
        next_attempt_at=delivery.due_at if is_pending else None,
        last_status_code=delivery.last_status,
        last_error=delivery.last_error,
        created_at=delivery.since,
        ended_at=delivery.ended_at,
    )
