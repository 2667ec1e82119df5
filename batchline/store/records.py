"""What only the store returns: a page of a list, what changed, a claim, the overview. Frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from batchline.model import Batch, FleetReport, Lease
from batchline.webhooks.records import OutboxOverview

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, in the order asked for, and whether more follows."""

    items: Sequence[T]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """Batches that changed: the open ones as they are now, and which have ended or are gone (by seq)."""

    number: int
    """Of the last change told of: what comes next is asked for with it."""
    open: Sequence[Batch]
    ended: frozenset[int] = frozenset()
    is_all: bool = False
    """`open` holds every batch that is open: what was known before is void."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one claim brought. Trust it for `ttl_s` counted from before the call was made."""

    leases: Sequence[Lease]
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for housekeeping, and how large the database is on the disk."""

    garbage: int
    """Keys of bytes to be deleted; those that a running batch needs wait for its end."""
    unnamed: int
    """Blobs that nothing named when they were last looked at."""
    database_bytes: int
    log_bytes: int
    pages: int
    free_pages: int


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the first page of the dashboard shows, read in one go."""

    open_batches: Sequence[Batch]
    finished: Sequence[Batch]
    report: FleetReport | None
    files: int
    files_bytes: int
    database_bytes: int
    refusal: str | None = None
    """Why nothing can be written, where a dispatcher is silent for that reason: it cannot even report."""
    outbox: OutboxOverview = field(default_factory=OutboxOverview)
