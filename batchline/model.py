"""The records that travel between store, blobs and leaves. Frozen; a change is a `replace`.

Owns the shapes and the making of ids, nothing else. Times are integer Unix seconds, UTC. What is made once
a line is a msgspec struct, for the time that takes (docs/decisions/017).
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from .api.appends import Appends
from .states import BatchStatus, OnFailures, OnFaults, OutcomeKind

SILENT_AFTER_S = 15
"""A dispatcher reports every second or so; what is silent for longer is gone, or cannot write."""

RESPONSE_PURPOSE = "response"
"""Of files that belong to a response in the background: no list shows them."""

_BASE62 = string.ascii_letters + string.digits


def new_file_id() -> str:
    """Make `file-` + 22 base62 characters (OpenAI's shape; only URL-safe characters)."""
    number = secrets.randbelow(62**22)  # drawn at once: each draw is a system call
    return "file-" + "".join(_BASE62[number // 62**place % 62] for place in range(22))


def new_batch_id() -> str:
    """Make `batch_` + 32 hexadecimal characters."""
    return "batch_" + secrets.token_hex(16)


def request_id(batch_id: str, index: int) -> str:
    """Name request `index` (from 0) of a batch: the same on every run, unique over all batches."""
    return f"batch_req_{batch_id.removeprefix('batch_')[:24]}{index:08x}"


@dataclass(frozen=True, slots=True)
class File:
    """One stored file. `blob_key` is relative and never shown to clients."""

    id: str
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    blob_key: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Lines of a batch: `failed` are those a model server refused, never cancelled or expired."""

    total: int = 0
    completed: int = 0
    failed: int = 0

    @property
    def finished(self) -> int:
        """Lines that have their outcome."""
        return self.completed + self.failed


class Usage(msgspec.Struct, frozen=True):
    """Tokens summed over successful lines."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Add field by field."""
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.total_tokens + other.total_tokens,
        )


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input file. `line` is the 1-based physical line (blank ones count)."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch as stored. `seq` orders batches by creation; `input_key` is the input's blob."""

    seq: int
    id: str
    status: BatchStatus
    endpoint: str
    input_file_id: str
    input_key: str
    completion_window: str
    created_at: int
    expires_at: int
    metadata: Mapping[str, str] | None = None
    model: str | None = None
    faults: Sequence[Fault] | None = None
    output_expires_after_s: int | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    paused_at: int | None = None
    """Since when no line is sent on purpose; None while that cannot matter (see `PAUSABLE`)."""
    deaths: int = 0
    """Dispatchers that died on it in a row since a line of it was last finished."""
    callback_url: str | None = None
    """Where its end is told, beside the endpoints."""
    on_failures: OnFailures = OnFailures.CONTINUE
    on_faults: OnFaults = OnFaults.FAIL_BATCH
    requests: int | None = None
    """How many there are, where they were counted as they came; `counts` knows once they were checked."""
    finished_at_resume: int = 0
    failed_at_resume: int = 0
    """Lines that were finished, and had failed, when it was last resumed (0 if it never was)."""
    is_response: bool = False
    """Whether it is a response in the background: one request, which clients know by another id."""
    counts: Counts = field(default_factory=Counts)
    usage: Usage = field(default_factory=Usage)
    appends: Appends | None = None
    """What was added to it while it ran; None if its input is a file from the start."""

    @property
    def takes_requests(self) -> bool:
        """Whether requests may be added to it."""
        return self.appends is not None and self.appends.are_taken

    @property
    def ended_at(self) -> int | None:
        """When it reached a terminal status, or None while it is open."""
        return self.completed_at or self.failed_at or self.expired_at or self.cancelled_at

    @property
    def name(self) -> str:
        """What people call it: metadata `name`, else the id."""
        return (self.metadata or {}).get("name") or self.id

    def ran_s(self, *, now: float) -> float | None:
        """Return how long ago its lines could first be sent, or None if they never could."""
        return None if self.in_progress_at is None else now - self.in_progress_at


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What a client asked for when creating a batch."""

    id: str
    endpoint: str
    input_file_id: str
    input_key: str
    completion_window: str
    created_at: int
    expires_at: int
    metadata: Mapping[str, str] | None = None
    output_expires_after_s: int | None = None
    on_failures: OnFailures = OnFailures.CONTINUE
    callback_url: str | None = None
    model: str | None = None
    """Where it is known before the requests are read."""
    is_response: bool = False
    on_faults: OnFaults = OnFaults.FAIL_BATCH
    requests: int | None = None
    """How many came with it; None if they are not counted yet."""
    appends: Appends | None = None


@dataclass(frozen=True, slots=True)
class UsedKey:
    """An Idempotency-Key, the batch it made and the digest of the body it came with."""

    key: str
    body_digest: bytes
    batch_id: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Slice:
    """A run of consecutive requests: requests `first .. first+count-1`, one byte range of the input.

    The range may hold blank lines between requests; it never starts or ends inside a line. It is one of the
    append of that number (`api/appends.py`) unless that is 0.
    """

    batch_seq: int
    first: int
    count: int
    offset_bytes: int
    length_bytes: int
    append: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """A slice held by one worker under a fencing token. `done`: requests already settled."""

    slice: Slice
    token: int
    done: frozenset[int] = frozenset()


class Outcome(msgspec.Struct, frozen=True):
    """One settled line, ready to be stored: `record` is its whole result line, newline included."""

    index: int
    kind: OutcomeKind
    record: bytes
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """Where a segment lies: name made by the blob store, opaque to everyone else."""

    key: str
    offset_bytes: int
    length_bytes: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment as stored: `lines` outcomes of its batch, after `lines_before` earlier ones."""

    number: int
    ref: SegmentRef
    lines_before: int
    lines: int

    @property
    def last(self) -> int:
        """The number of its last line, by when lines finished (from 1)."""
        return self.lines_before + self.lines


@dataclass(frozen=True, slots=True)
class Settlement:
    """Outcomes of one batch whose bytes are durable in `segment`, each under its slice's token."""

    batch_seq: int
    segment: SegmentRef
    outcomes: Sequence[tuple[Lease, Sequence[Outcome]]]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a settle took: lines by kind, and their tokens. Less than was offered where leases were lost."""

    succeeded: int = 0
    failed: int = 0
    usage: Usage = field(default_factory=Usage)

    @property
    def lines(self) -> int:
        """Lines of any kind."""
        return self.succeeded + self.failed

    def __add__(self, other: Accepted) -> Accepted:
        """Add field by field."""
        return Accepted(
            self.succeeded + other.succeeded, self.failed + other.failed, self.usage + other.usage
        )


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """One model server as last seen by the dispatcher. Gauges are None where it has no metrics."""

    name: str
    url: str
    alive: bool
    since: int
    """When it last changed between alive and not (Unix seconds)."""
    models: Sequence[str] = ()
    endpoints: Sequence[str] | None = None
    """Those that it offers of the endpoints that a batch may have; None: not known."""
    running: int | None = None
    waiting: int | None = None
    kv_cache_ratio: float | None = None
    output_tokens_per_s: float | None = None
    reason: str | None = None
    """Why it is not alive; of a live one, what of it cannot be read or comes late. In words."""
    circuit: str = "closed"
    """Whether it gets lines: `closed` (its share), `half_open` (a few, to try it), `open` (none)."""
    circuit_since: int = 0
    circuit_reason: str | None = None
    """Why it gets no lines or few, in words; of a closed circuit, what the backend lacks."""
    in_flight: int = 0
    """Lines sent there and not yet answered."""
    is_stale: bool = False
    """Its gauges are those of an earlier look: it is late to tell."""

    @property
    def trouble(self) -> str | None:
        """What is the matter with it, in words; None if nothing is."""
        return (self.circuit_reason if self.alive else None) or self.reason


@dataclass(frozen=True, slots=True)
class FleetReport:
    """What a dispatcher last reported: itself and the backends. `at` is when (Unix seconds)."""

    at: int
    backends: Sequence[BackendStatus] = ()
    in_flight: Mapping[str, int] = field(default_factory=dict)
    """Batch id -> requests in flight."""
    limit: int = 0
    """Requests the dispatcher allows in flight at present."""
    paused: str | None = None
    """Why dispatch is paused, in words, or None."""
    waiting: Mapping[str, str] = field(default_factory=dict)
    """Batch id -> why it cannot go on at present, whatever the others do."""
    failing: Mapping[str, str] = field(default_factory=dict)
    """Batch id -> the commonest kind of failure, of batches of which most lines fail."""
    suspects: int = 0
    """Requests sent apart from all others, because servers died while working on them."""
    reserved_backend: str | None = None
    """The backend reserved for them."""

    def silent_s(self, *, now: float) -> float | None:
        """Return how long no dispatcher has reported, or None while one does."""
        return now - self.at if now - self.at > SILENT_AFTER_S else None

    @property
    def models(self) -> list[str]:
        """Every model that some live backend serves, sorted."""
        return sorted({m for b in self.backends if b.alive for m in b.models})

    @property
    def alive(self) -> int:
        """How many backends answer."""
        return sum(b.alive for b in self.backends)
