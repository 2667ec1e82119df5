"""Events, the endpoints that want them, and deliveries of the one to the other. Times are Unix seconds."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

_SECRET_BYTES = 32
_HINT_CHARACTERS = 4
_DELIVERY = "dlv_"
_HANDLER = "handler:"
_MOST_DIGITS = 18  # fits SQLite's integers


class EventType(StrEnum):
    """What is told (OpenAI API reference, Webhook events); a batch has one of these in its life."""

    COMPLETED = "batch.completed"
    FAILED = "batch.failed"
    EXPIRED = "batch.expired"
    CANCELLED = "batch.cancelled"


class Ask(StrEnum):
    """Who asked for a delivery."""

    ENDPOINT = "endpoint"
    BATCH = "batch"
    SETTING = "setting"


class DeliveryState(StrEnum):
    """A delivery is pending until its receiver took it, or nobody tries any more."""

    PENDING = "pending"
    DELIVERED = "delivered"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened once. Its id is the same on every delivery of it."""

    id: str
    type: EventType
    created_at: int
    batch_id: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A receiver that clients registered. The old secret signs beside the new one until it lapses."""

    id: str
    name: str
    url: str
    event_types: Sequence[EventType]
    secret: str
    created_at: int
    updated_at: int
    old_secret: str | None = None
    old_secret_until: int = 0

    def secrets_at(self, now: float) -> list[str]:
        """Return what signs at `now`, the newest first."""
        is_kept = self.old_secret is not None and now < self.old_secret_until
        return [self.secret, *([self.old_secret] if is_kept and self.old_secret else [])]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one receiver."""

    number: int
    """Grows with each delivery that is made; clients see it as `dlv_` and this number."""
    event: Event
    ask: Ask
    endpoint_id: str | None
    """The endpoint, where one asked for it."""
    url: str
    state: DeliveryState
    attempts: int
    """How many were made since it was made, or replayed."""
    due_at: int
    """When it is tried next, while it is pending."""
    since: int
    """When it was made, or replayed: it is given up so long after that."""
    last_status: int | None = None
    last_error: str | None = None
    """Why it was not taken, in words."""
    ended_at: int | None = None
    is_replayable: bool = True
    """False where an endpoint asked for it that is gone."""
    lines_done: int = 0
    """How many results its handler has handled for good."""
    lines_total: int | None = None
    """How many its batch has; None if the batch is forgotten."""
    leased_until: float = field(default=0.0, compare=False)
    """Until when the process that attempts it at present has it; no part of what it is."""

    @property
    def handler(self) -> str | None:
        """The handler that it goes to, if it goes to one."""
        return handler_at(self.url)

    def is_under_way(self, now: float) -> bool:
        """Whether it is being attempted."""
        return self.state is DeliveryState.PENDING and self.leased_until > now


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery that one process attempts under a lease; `token` fences off whoever held it before."""

    delivery: Delivery
    token: int
    secrets: Sequence[str]
    """The secrets of its endpoint; none where a batch or a setting asked for it."""
    checkpoint: bytes | None = None
    """JSON that its handler kept for the next attempt."""
    deaths: int = 0
    """Attempts in a row in which its handler died and got no further."""


@dataclass(frozen=True, slots=True)
class Attempted:
    """What came of an attempt: taken, to be tried again at `due_at`, or given up."""

    state: DeliveryState
    due_at: int = 0
    status: int | None = None
    error: str | None = None
    deaths: int = 0
    """As `ClaimedDelivery` has it, for the next attempt."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A receiver that the operator set: the URL that gets every event, or a handler."""

    url: str
    types: Sequence[EventType] = tuple(EventType)
    metadata: Mapping[str, str] = field(default_factory=dict)
    """It gets the events of batches whose metadata have all of these."""

    def wants(self, kind: EventType, metadata: Mapping[str, str]) -> bool:
        """Whether it gets an event of this type, of a batch with these metadata."""
        return kind in self.types and self.metadata.items() <= metadata.items()


@dataclass(frozen=True, slots=True)
class OutboxFigures:
    """What the outbox holds at present."""

    pending: int
    oldest_since: int | None
    """Since when the oldest of them waits."""
    given_up: int


@dataclass(frozen=True, slots=True)
class OutboxOverview:
    """The outbox as the dashboard shows it."""

    figures: OutboxFigures = OutboxFigures(0, None, 0)
    endpoints: int = 0
    unaddressed_since: int | None = None
    """When the oldest event happened of which no deliveries are made yet."""
    has_callback: bool = False
    """Whether a batch asked for one of these events itself."""
    has_standing: bool = False
    """Whether the operator set a receiver: the URL that gets every event, or handlers."""
    newest: Sequence[Delivery] = ()
    """The last made first."""
    waiting: Sequence[Delivery] = ()
    """To each receiver the pending one that has waited longest, the longest first."""


def new_endpoint_id() -> str:
    """Make `whe_` + 32 hexadecimal characters."""
    return "whe_" + secrets.token_hex(16)


def new_event_id() -> str:
    """Make `evt_` + 32 hexadecimal characters, as the database does for what happened."""
    return "evt_" + secrets.token_hex(16)


def delivery_id(number: int) -> str:
    """Write the number of a delivery as clients see it."""
    return f"{_DELIVERY}{number}"


def delivery_number(text: str) -> int | None:
    """Read the number of a delivery from its id; None if it is no such id."""
    digits = text.removeprefix(_DELIVERY)
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS
    return int(digits) if is_number and digits[0] != "0" and digits != text else None


def handler_url(name: str) -> str:
    """Write where deliveries to a handler go."""
    return _HANDLER + name


def handler_at(url: str) -> str | None:
    """Return the name of the handler that a delivery goes to, None if it goes to a receiver."""
    return url.removeprefix(_HANDLER) if url.startswith(_HANDLER) else None


def new_secret() -> str:
    """Make a secret as Standard Webhooks writes them: `whsec_` + base64."""
    return "whsec_" + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def hint_of(secret: str) -> str:
    """Show a secret by its last characters only."""
    return f"whsec_…{secret[-_HINT_CHARACTERS:]}"
