"""A realistic night of work, for the dashboard's tests and pictures: records and a scripted View."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from batchline.model import BackendStatus, Batch, Counts, Fault, FleetReport, Usage
from batchline.states import BatchStatus
from batchline.store.records import Overview
from batchline.webhooks.records import (
    Ask,
    Delivery,
    DeliveryState,
    Event,
    EventType,
    OutboxFigures,
    OutboxOverview,
    handler_url,
)

LOST_STEPS = 24
NOW = 1_770_859_807  # 2026-02-12 01:30:07 UTC


def batch(seq: int, name: str = "", **changes) -> Batch:
    made = Batch(
        seq=seq,
        id=f"batch_{seq:032x}",
        status=BatchStatus.IN_PROGRESS,
        endpoint="/v1/chat/completions",
        input_file_id="file-in",
        input_key="files/in",
        completion_window="24h",
        created_at=NOW - 7200,
        expires_at=NOW + 79200,
        metadata={"name": name} if name else None,
        model="Qwen/Qwen3-32B",
        in_progress_at=NOW - 7100,
    )
    return replace(made, **changes)


def backend(index: int, **changes) -> BackendStatus:
    made = BackendStatus(
        name=f"gpu-{index}",
        url=f"http://127.0.0.1:{8001 + index}",
        alive=True,
        since=NOW - 270_000,
        models=("Qwen/Qwen3-32B",),
        running=256,
        waiting=12,
        kv_cache_ratio=0.91,
        output_tokens_per_s=2660.0,
    )
    return replace(made, **changes)


def report(**changes) -> FleetReport:
    made = FleetReport(at=NOW, backends=(backend(0), backend(1)), in_flight={}, limit=512)
    return replace(made, **changes)


def overview(**changes) -> Overview:
    made = Overview(
        open_batches=(), finished=(), report=report(), files=0, files_bytes=0, database_bytes=4096
    )
    return replace(made, **changes)


@dataclass
class Stage:
    """A View whose overview a test sets. `looks` counts how often it was read."""

    seen: Overview = field(default_factory=overview)
    looks: int = 0
    fault: Exception | None = None
    refusal: Exception | None = None
    lock: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.lock.set()

    async def check_writable(self) -> None:
        await self.lock.wait()
        if self.refusal is not None:
            raise self.refusal

    async def overview(self, *, finished_limit: int, deliveries_limit: int) -> Overview:
        self.looks += 1
        if self.fault is not None:
            raise self.fault
        return self.seen


class Disk:
    """Blobs as far as the dashboard asks."""

    def free_bytes(self) -> int:
        return 1_400_000_000_000


IDS = (
    "batch_7f3a91c0d2e84b6f9a10c2b7e5d3f481",
    "batch_51be02d7a94c4be08d55f2170b6e93aa",
    "batch_e0c44a18c05f4a6cb2f9d1e7438b6a02",
)


def _noise(seed: int) -> list[float]:
    """Return how speed wanders over the last hour, newest first: a factor for each ten seconds."""
    dice, value, walk = random.Random(seed), 0.0, []
    for _ in range(400):
        value = 0.85 * value + dice.uniform(-0.045, 0.045)
        walk.append(1 + value)
    return walk


NOISE = {seed: _noise(seed) for seed in range(12)}


def _speed(seed: int, step: int) -> float:
    lost = 0.9 if step <= LOST_STEPS else 1.0  # one of eight backends is gone
    return NOISE[seed][step] * lost


def _before(now: int, per_s: float, seed: int, age_s: float) -> int:
    """Return what a count was `age_s` ago."""
    gained = sum(10 * per_s * _speed(seed, step) for step in range(int(age_s // 10)))
    return max(0, round(now - gained))


def night(age_s: float = 0.0) -> Overview:
    """Return the state `age_s` seconds before NOW: three batches on seven of eight GPUs."""
    step = int(age_s // 10)
    counts = (
        (IDS[0], "nightly-eval-0212", _before(634_118, 33.2, 0, age_s), 1_000_000, 18_900),
        (IDS[1], "rubric-judge-v2", _before(96_400, 10.1, 1, age_s), 120_000, 10_400),
        (IDS[2], "doc-summaries-fr", _before(2_110, 2.9, 2, age_s), 50_000, 820),
    )
    loads = [(91, 2660), (88, 2640), (94, 2685), (90, 2655), (89, 2671), (91, 2650), (92, 2648)]
    fleet = [
        backend(
            i,
            kv_cache_ratio=kv / 100,
            output_tokens_per_s=tok * NOISE[i + 3][step],
            waiting=9 + 5 * i % 7,
        )
        for i, (kv, tok) in enumerate([*loads, (91, 2667)])
    ]
    if step <= LOST_STEPS:
        fleet[5] = backend(5, alive=False, since=NOW - 245, reason="connection refused")
    flying = dict(zip(IDS, (1286, 394, 112), strict=True))
    failed = {IDS[0]: _before(312, 0.02, 0, age_s)}
    return Overview(
        open_batches=[_running(*entry, failed=failed.get(entry[0], 0)) for entry in counts],
        finished=_ended(),
        report=FleetReport(at=round(NOW - age_s), backends=fleet, in_flight=flying, limit=1792),
        files=212,
        files_bytes=583_000_000_000,
        database_bytes=1_300_000_000,
    )


def _running(batch_id, name, done, total, ran_s, *, failed) -> Batch:
    return batch(
        int(batch_id[6:14], 16),
        name,
        id=batch_id,
        counts=Counts(total=total, completed=done - failed, failed=failed),
        usage=Usage(output_tokens=(done - failed) * 446),
        created_at=NOW - ran_s - 60,
        in_progress_at=NOW - ran_s,
    )


def _ended() -> Sequence[Batch]:
    done, failed = BatchStatus.COMPLETED, BatchStatus.FAILED
    faults = [
        Fault("duplicate_custom_id", 'custom_id "a-16" is also on line 9.', 17),
        Fault("invalid_value", "body.max_tokens must be at least 1 (is 0).", 4402),
        Fault("invalid_json", "Not JSON: expected ',' at column 211.", 90_113),
    ]
    return (
        _end(11, "embed-catalog-v3", done, 2760, 4320, 250_000, 0),
        _end(12, "prompt-ab-b", BatchStatus.CANCELLED, 13_100, 840, 40_000, 0, finished=8_120),
        _end(13, "tagger-backfill", failed, 13_800, 2, 120_000, 0, finished=0, faults=faults),
        _end(14, "tagger-backfill", done, 15_600, 2_880, 120_000, 31),
        _end(15, "nightly-eval-0211", done, 83_880, 21_780, 1_000_000, 287),
    )


def _end(seq, name, status, ago_s, took_s, total, failed, *, finished=None, faults=None) -> Batch:
    ended = NOW - ago_s
    settled = total if finished is None else finished
    field_name = {
        BatchStatus.COMPLETED: "completed_at",
        BatchStatus.CANCELLED: "cancelled_at",
        BatchStatus.FAILED: "failed_at",
    }[status]
    return batch(
        seq,
        name,
        status=status,
        created_at=ended - took_s,
        in_progress_at=ended - took_s + 1,
        counts=Counts(total=total, completed=settled - failed, failed=failed),
        faults=faults,
        output_file_id="file-" + "A" * 21 + str(seq % 10) if settled else None,
        error_file_id="file-" + "B" * 21 + str(seq % 10) if failed else None,
        **{field_name: ended},
    )


def delivery(number: int, host: str = "hooks.example.com", **changes) -> Delivery:
    event = Event(f"evt_{number:032x}", EventType.COMPLETED, NOW - 60, f"batch_{number:032x}")
    made = Delivery(
        number=number,
        event=event,
        ask=Ask.ENDPOINT,
        endpoint_id="we_1",
        url=f"https://{host}/batch?token=hidden",
        state=DeliveryState.DELIVERED,
        attempts=1,
        due_at=NOW - 60,
        since=NOW - 60,
        last_status=200,
        ended_at=NOW - 59,
    )
    return replace(made, **changes)


def waiting(number: int, host: str = "hooks.example.com", *, wait_s: int, **changes) -> Delivery:
    """Return a delivery that was tried and is tried again."""
    failed = {"attempts": 7, "last_status": 503, "last_error": "It answered 503."}
    times = {"since": NOW - wait_s, "due_at": NOW + 240, "ended_at": None}
    return delivery(number, host, **{"state": DeliveryState.PENDING, **times, **failed, **changes})


def to_handler(number: int, name: str, **changes) -> Delivery:
    """Return a delivery of 2,000 results that a handler is at."""
    at_work = {"state": DeliveryState.PENDING, "ended_at": None, "leased_until": NOW + 120}
    of_all = {"lines_done": 1500, "lines_total": 2000, "attempts": 0, "last_status": None}
    asked = {"ask": Ask.SETTING, "endpoint_id": None, "url": handler_url(name)}
    return delivery(number, **{**at_work, **of_all, **asked, **changes})


def told() -> OutboxOverview:
    """Return an outbox with deliveries of every kind."""
    why = "The handler failed: OSError: [Errno 28] No space left on device"
    failed = to_handler(
        212, "exports", attempts=2, leased_until=0, last_error=why, due_at=NOW + 240, lines_done=64
    )
    late = waiting(207, "labels.lab.example:8443", wait_s=1500)
    long_error = (
        "ConnectError: labels.lab.example cannot be resolved, which the resolver says at length"
    )
    gone = "The endpoint was deleted."
    ended = {"state": DeliveryState.GIVEN_UP, "ended_at": NOW - 900}
    return OutboxOverview(
        figures=OutboxFigures(4, NOW - 1500, 2),
        endpoints=2,
        newest=(
            to_handler(213, "reviews"),
            failed,
            waiting(211, wait_s=3, attempts=0, last_status=None, last_error=None, due_at=NOW),
            delivery(210),
            delivery(209, attempts=3),
            late,
            delivery(206, "labels.lab.example:8443", **ended, attempts=48, last_error=long_error),
            delivery(205, "old.example.com", **ended, last_error=gone, is_replayable=False),
        ),
        waiting=(late, waiting(211, wait_s=3)),
    )
