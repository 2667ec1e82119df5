"""What was seen while a schedule was played: plain records, the only thing that the invariants look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .faults import Reception
from .schedule import Schedule

ENDPOINT = "endpoint"
"""Who asked for the end of every batch to be told."""


@dataclass(slots=True)
class Send:
    """One request that reached a model server. Times are seconds of the harness's monotonic clock."""

    tag: str
    upstream: int
    at: float
    dealt: str
    """A Fault, a Fate where nothing was to go wrong, or what a sick server has for every line."""
    ended_at: float | None = None
    end: str = "open"
    """delivered, left (by the client), cut (by an act), broken (by the fault itself)"""


@dataclass(slots=True)
class Told:
    """One request that reached the receiver of webhooks."""

    asked_by: str
    """`endpoint`, the name of the batch that asked for it, or a path that nobody asked for."""
    at: float
    dealt: Reception
    headers: Mapping[str, str]
    """Those of Standard Webhooks, in lower case."""
    body: str
    is_taken: bool = False
    """It was answered with 2xx."""


@dataclass(slots=True)
class Handled:
    """One attempt of the handler at a batch, as it recorded it."""

    batch_id: str
    key: str
    """Its idempotency key."""
    start: int
    """How many results it was told are handled."""
    state: object
    """What it was given of what a checkpoint kept."""
    pid: int
    began_at: float
    ended_at: float = 0.0
    """When it recorded something last."""
    lines: list[dict] = field(default_factory=list)
    checkpoints: list[int] = field(default_factory=list)
    """How many results were handled at each."""
    end: str = "cut"
    """`well`, a Failure, or cut: it was ended from outside."""


@dataclass(frozen=True, slots=True)
class Noted:
    """A delivery to the handler in the store's log."""

    batch_id: str
    event_id: str
    state: str
    lines_done: int
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a client to the gateway. `status` is None where no answer came."""

    verb: str
    """Method and route, such as `GET /v1/batches/{id}`."""
    began_at: float
    ended_at: float
    status: int | None
    trouble: str = ""
    """What is wrong with the answer by itself: how it broke, or that its error has not OpenAI's shape."""
    batch: str = ""
    body: Mapping[str, object] | None = None


@dataclass(slots=True)
class Disturbance:
    """Something that was done to the system, from `began_at` until it was whole again."""

    kind: str
    """down, frozen, sick, falters, killed, reload, worker, full, read-only, jump, error (a failpoint's), retry, busy"""
    target: str
    began_at: float
    ended_at: float | None = None
    is_bidden: bool = True
    """By the schedule; False: the process ended by itself."""
    code: int | None = None

    def overlaps(self, since: float, until: float, slack_s: float = 0.0) -> bool:
        """Tell whether any of it lies between two moments, or up to `slack_s` before or after."""
        ended_at = float("inf") if self.ended_at is None else self.ended_at
        return self.began_at - slack_s <= until and ended_at + slack_s >= since


@dataclass(frozen=True, slots=True)
class Look:
    """What the database held at one moment, in one transaction."""

    at: float
    settled: Mapping[str, frozenset[int]]
    """Batch name → indexes of its lines with an outcome."""
    counted: Mapping[str, int]
    """Batch name → completed + failed of its row."""
    in_slices: Mapping[str, int]
    """Batch name → lines that its slices call settled."""


@dataclass(slots=True)
class Result:
    """One batch as its client left it."""

    name: str
    batch_id: str
    custom_ids: list[str]
    """Of its input, in order."""
    tags: list[str]
    """Of the same lines: what the model servers saw."""
    acknowledged: int = 0
    """How many of the first lines of an open batch were answered with 200."""
    final: Mapping[str, object] | None = None
    output: list[dict] | None = None
    error: list[dict] | None = None
    cancelled_at: float | None = None
    """When the answer to its cancel was read."""
    deleted_at: float | None = None
    created: list[str] = field(default_factory=list)
    """The id in every answer to a create with its Idempotency-Key."""


@dataclass(frozen=True, slots=True)
class AtRest:
    """Database and disk after everything was stopped."""

    integrity: str
    missing: tuple[str, ...] = ()
    """Rows whose bytes are not there, or not of their size."""
    unnamed: tuple[str, ...] = ()
    """Bytes that no row names."""
    temporary: tuple[str, ...] = ()
    rows_left: Mapping[str, int] = field(default_factory=dict)
    """Rows of ended batches that housekeeping should have taken, by table."""
    batches: frozenset[str] = frozenset()
    """Ids of all batches."""
    damage: tuple[str, ...] = ()
    """What `fsck` finds wrong."""
    undelivered: tuple[str, ...] = ()
    """Events that were not delivered to all who want them."""
    handled: tuple[Noted, ...] = ()
    """The log of deliveries to the handler."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup made meanwhile: how the command ended, and what `fsck` finds wrong with what it made."""

    began_at: float
    ended_at: float
    code: int
    damage: tuple[str, ...] = ()


@dataclass(slots=True)
class History:
    """All that was recorded."""

    schedule: Schedule
    sends: list[Send] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    disturbances: list[Disturbance] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    results: dict[str, Result] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    """By who asked: what signs what is told for it."""
    handled: list[Handled] = field(default_factory=list)
    handlers_left: tuple[int, ...] = ()
    """Processes of the handler that outlived the deliverer."""
    orphans_were_due: bool = False
    """The dispatcher looked for orphans twice, hours apart by its clock, when all was over."""
    listed: frozenset[str] = frozenset()
    """Ids of the batches that the gateway listed at the end."""
    at_rest: AtRest | None = None
    backups: list[Backup] = field(default_factory=list)
    logs: Mapping[str, str] = field(default_factory=dict)
    fired: list[tuple[str, str]] = field(default_factory=list)
    """Failpoints that the logs say happened: (point, action)."""
    played_without: list[str] = field(default_factory=list)
    """What this machine does not permit."""
    stuck: str = ""
    """Why it did not end, with the state of everything, or nothing."""
    wall_s: float = 0.0
    cpu_s: float = 0.0
