"""What clients send of webhook endpoints: decoded and checked as `bodies`. Pure; raises Invalid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from batchline.errors import Invalid
from batchline.outbound.addresses import Network
from batchline.webhooks.addresses import accepted_url
from batchline.webhooks.records import EventType

from . import parameters

LONGEST_NAME_CHARACTERS = 256
EVENT_TYPES = tuple(kind.value for kind in EventType)
KEEP = "keep_old_secret_active_for_24_hours"


@dataclass(frozen=True, slots=True)
class EndpointRequest:
    """The checked body of `POST /v1/webhook_endpoints`."""

    name: str
    url: str
    event_types: Sequence[EventType]


@dataclass(frozen=True, slots=True)
class EndpointChanges:
    """The checked body of `POST /v1/webhook_endpoints/{id}`; None: stays as it is."""

    name: str | None
    url: str | None
    event_types: Sequence[EventType] | None


def read_endpoint_request(body: bytes, *, networks: Sequence[Network]) -> EndpointRequest:
    """Decode and check the body of a create. Unknown fields are ignored. Raises Invalid."""
    fields = parameters.json_object(body)
    return EndpointRequest(
        name=_name(parameters.required(fields, "name")),
        url=_url(parameters.required(fields, "url"), networks),
        event_types=_event_types(parameters.required(fields, "event_types")),
    )


def read_endpoint_changes(body: bytes, *, networks: Sequence[Network]) -> EndpointChanges:
    """Decode and check the body of an update; an empty one changes nothing. Raises Invalid."""
    fields = _optional_object(body)
    return EndpointChanges(
        name=_name(fields["name"]) if "name" in fields else None,
        url=_url(fields["url"], networks) if "url" in fields else None,
        event_types=_event_types(fields["event_types"]) if "event_types" in fields else None,
    )


def read_rotation(body: bytes) -> bool:
    """Return whether the old secret shall sign for another 24 hours. Raises Invalid."""
    return parameters.boolean(_optional_object(body).get(KEEP, False), param=KEEP)


def read_test_request(body: bytes) -> EventType:
    """Return which type of event shall be sent. Raises Invalid."""
    fields = parameters.json_object(body)
    return _event_type(parameters.required(fields, "event_type"), param="event_type")


def _optional_object(body: bytes) -> parameters.JsonObject:
    return parameters.json_object(body) if body.strip() else {}


def _name(value: parameters.Json) -> str:
    name = parameters.short_string(value, param="name", longest=LONGEST_NAME_CHARACTERS)
    parameters.filled(name, param="name")
    return name


def _url(value: parameters.Json, networks: Sequence[Network]) -> str:
    return accepted_url(parameters.string(value, param="url"), param="url", networks=networks)


def _event_types(value: parameters.Json) -> list[EventType]:
    given = parameters.strings(value, param="event_types")
    parameters.filled(given, param="event_types")
    types = [_event_type(text, param=f"event_types[{n}]") for n, text in enumerate(given)]
    if len(set(types)) < len(types):
        raise Invalid(
            "Invalid 'event_types': a type may be named only once.",
            param="event_types",
            code="invalid_value",
        )
    return types


def _event_type(value: parameters.Json, *, param: str) -> EventType:
    return EventType(parameters.choice(value, EVENT_TYPES, param=param))
