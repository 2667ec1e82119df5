"""The states of batches, slices and lines, and every legal move between them.

    batch   validating ─accept─► in_progress ─drain/lapse─► finalizing ─publish─► completed | expired
                │ reject ▼            │                          │
                │      failed         │ cancel                   │ cancel
                └─cancel──────────────┴──────► cancelling ◄──────┘
                                                   └─publish─► cancelled
            any open state ─break─► failed
            finalizing ─reopen─► in_progress     (only by `fsck --repair`, where results were damaged)

    slice   open ─claim─► leased ─settle the last line─► done
              ▲ release / lease lost │        open | leased ─revoke─► cancelled | expired
              └──────────────────────┘

    line    no outcome ─settle─► succeeded | failed     (cancelled, expired: derived when published)

Pure tables; the store turns each move into one compare-and-set. Status words are OpenAI's.
"""

from __future__ import annotations

from enum import StrEnum


class BatchStatus(StrEnum):
    """OpenAI's eight statuses of a batch (API reference, Batch object)."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class BatchEvent(StrEnum):
    """What can happen to a batch."""

    ACCEPT = "accept"
    REJECT = "reject"
    DRAIN = "drain"
    LAPSE = "lapse"
    CANCEL = "cancel"
    PUBLISH_COMPLETED = "publish_completed"
    PUBLISH_EXPIRED = "publish_expired"
    PUBLISH_CANCELLED = "publish_cancelled"
    BREAK = "break"
    REOPEN = "reopen"


class OnFailures(StrEnum):
    """What shall happen to a batch of which most lines fail for good."""

    CONTINUE = "continue"
    """Nothing, as at OpenAI."""
    PAUSE = "pause"


class OnFaults(StrEnum):
    """What faults of lines do to their batch."""

    FAIL_BATCH = "fail_batch"
    """It fails, and none of its lines is sent, as at OpenAI."""
    FAIL_LINES = "fail_lines"
    """Each bad line fails alone."""


class SliceState(StrEnum):
    """The life of a slice: a run of consecutive lines that is leased as one."""

    OPEN = "open"
    LEASED = "leased"
    DONE = "done"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class OutcomeKind(StrEnum):
    """How a line ended. Stored as the integer `OUTCOME_CODES[kind]`."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


OUTCOME_CODES = {
    OutcomeKind.SUCCEEDED: 1,
    OutcomeKind.FAILED: 2,
    OutcomeKind.CANCELLED: 3,
    OutcomeKind.EXPIRED: 4,
}

_S, _E = BatchStatus, BatchEvent

TERMINAL = frozenset({_S.FAILED, _S.COMPLETED, _S.EXPIRED, _S.CANCELLED})
OPEN = frozenset(BatchStatus) - TERMINAL
CANCELLABLE = frozenset({_S.VALIDATING, _S.IN_PROGRESS, _S.FINALIZING})
PAUSABLE = frozenset({_S.VALIDATING, _S.IN_PROGRESS})
PUBLISHABLE = frozenset({_S.FINALIZING, _S.CANCELLING})

TRANSITIONS: dict[BatchEvent, tuple[frozenset[BatchStatus], BatchStatus]] = {
    _E.ACCEPT: (frozenset({_S.VALIDATING}), _S.IN_PROGRESS),
    _E.REJECT: (frozenset({_S.VALIDATING}), _S.FAILED),
    _E.DRAIN: (frozenset({_S.IN_PROGRESS}), _S.FINALIZING),
    _E.LAPSE: (frozenset({_S.IN_PROGRESS}), _S.FINALIZING),
    _E.CANCEL: (CANCELLABLE, _S.CANCELLING),
    _E.PUBLISH_COMPLETED: (frozenset({_S.FINALIZING}), _S.COMPLETED),
    _E.PUBLISH_EXPIRED: (frozenset({_S.FINALIZING}), _S.EXPIRED),
    _E.PUBLISH_CANCELLED: (frozenset({_S.CANCELLING}), _S.CANCELLED),
    _E.BREAK: (OPEN, _S.FAILED),
    _E.REOPEN: (frozenset({_S.FINALIZING}), _S.IN_PROGRESS),
}


def next_status(status: BatchStatus, event: BatchEvent) -> BatchStatus | None:
    """Return the status after `event`, or None where the move is illegal."""
    sources, target = TRANSITIONS[event]
    return target if status in sources else None
