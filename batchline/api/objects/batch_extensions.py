"""What an answer about one batch tells beyond OpenAI's object: progress, speed, end, results. Pure.

The names are those of an earlier system of this kind, whose scripts read them.
"""

from __future__ import annotations

import msgspec

from batchline.estimate import Moving, is_telling
from batchline.model import Batch
from batchline.states import BatchStatus

from .batch import BatchObject

_BASED_ON = "the requests of this batch that have finished, since it began"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of a batch, and how many of a hundred have their answer or error."""

    total: int
    completed: int
    failed: int
    percent: float


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """When a batch that runs will be done at its average speed. Times are Unix seconds."""

    estimated_seconds: int
    estimated_completion: int
    throughput_tokens_per_sec: float
    throughput_requests_per_sec: float
    based_on: str


class ExtendedBatchObject(BatchObject, frozen=True, kw_only=True):
    """A batch with the extensions. Speeds are averages over the time it ran, pauses included.

    `estimate` is null unless the batch runs and enough of it has finished; `total_tokens` are those of
    `usage`, and `throughput_tokens_per_sec` counts these.
    """

    batch_id: str
    progress: Progress
    estimate: Estimate | None
    throughput_tokens_per_sec: float | None
    total_tokens: int
    results_url: str


def extended(plain: BatchObject, batch: Batch, *, now: float) -> ExtendedBatchObject:
    """Add the extensions as they are at `now`."""
    counts, tokens_per_s = batch.counts, _per_s(batch.usage.total_tokens, batch, now=now)
    return ExtendedBatchObject(
        **{name: getattr(plain, name) for name in plain.__struct_fields__},
        batch_id=batch.id,
        progress=Progress(
            total=counts.total,
            completed=counts.completed,
            failed=counts.failed,
            percent=round(100 * counts.finished / counts.total, 1) if counts.total else 0.0,
        ),
        estimate=_estimate(batch, now=now),
        throughput_tokens_per_sec=tokens_per_s,
        total_tokens=batch.usage.total_tokens,
        results_url=f"/v1/batches/{batch.id}/results",
    )


def _estimate(batch: Batch, *, now: float) -> Estimate | None:
    """Foresee the end; None if the batch does not run, gets more, or not enough of it has finished."""
    per_s = _per_s(batch.counts.finished, batch, now=now)
    is_running = batch.status is BatchStatus.IN_PROGRESS and batch.paused_at is None
    if not is_running or batch.takes_requests or not per_s:
        return None
    moving = Moving(
        batch.id, batch.counts.finished, batch.counts.total, batch.ran_s(now=now), per_s
    )
    if not is_telling(moving):
        return None
    return Estimate(
        estimated_seconds=round(moving.left_s),
        estimated_completion=round(now + moving.left_s),
        throughput_tokens_per_sec=_per_s(batch.usage.total_tokens, batch, now=now) or 0.0,
        throughput_requests_per_sec=per_s,
        based_on=_BASED_ON,
    )


def _per_s(count: int, batch: Batch, *, now: float) -> float | None:
    """Return the average over the time in which the batch ran, None before it did."""
    ran_s = batch.ran_s(now=batch.finalizing_at or batch.ended_at or now)
    return round(count / ran_s, 3) if ran_s and ran_s > 0 else None
