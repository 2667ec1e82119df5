"""`Work` on SQLite: admission, leases, settling, publishing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec

from batchline.blobs.keys import segments_prefix
from batchline.failpoints import failpoint
from batchline.model import (
    Accepted,
    Batch,
    Changes,
    Claim,
    Fault,
    File,
    FleetReport,
    Lease,
    Outcome,
    SegmentRef,
    Settlement,
    Slice,
    Usage,
)
from batchline.states import OUTCOME_CODES, BatchStatus, OutcomeKind, SliceState

from . import repo
from .connection import Transaction
from .sqlite_intake import SqliteParts

_LOOK_S = 0.1  # how soon another process's commit is noticed; one cheap pragma each
_CHANGES_KEPT = 100_000  # so many the table has (migration 10)
_CLOSING = {
    BatchStatus.COMPLETED: "close_completed",
    BatchStatus.EXPIRED: "close_expired",
    BatchStatus.CANCELLED: "close_cancelled",
}


class SqliteWork(SqliteParts):
    """The dispatcher's part of the store."""

    _clock_ms: Callable[[], int]
    _version_seen: int | None = None
    _moved: asyncio.Event
    """Set when a batch changed its status here: the database tells of other processes only."""

    async def hold(  # noqa: D102 - contract in base
        self, role: str, *, holder: str, ttl_s: float, take_over: bool = False
    ) -> bool:
        now_ms = self._clock_ms()
        async with self._database.write() as tx:
            changed = await tx.run(
                self._text("hold"),
                {
                    "role": role,
                    "holder": holder,
                    "now_ms": now_ms,
                    "until_ms": now_ms + int(ttl_s * 1000),
                    "take_over": take_over,
                },
            )
        return changed > 0

    async def changes(self, *, after: int | None) -> Changes:  # noqa: D102
        async with self._database.read() as tx:
            if after is not None:
                rows = await tx.rows(self._text("changed_batches"), {"after": after})
                if not rows or rows[-1]["number"] - after < _CHANGES_KEPT:
                    return repo.to_changes(rows, after=after)
            last = await tx.row(self._text("last_change"))
            assert last is not None, "an aggregate has its row"
            rows = await tx.rows(
                self._text("open_batches")
            )  # later: what changes meanwhile is told again
        return Changes(last["number"], [repo.to_batch(r) for r in rows], is_all=True)

    async def add_slices(self, slices: Sequence[Slice]) -> bool:  # noqa: D102
        async with self._database.write() as tx:
            if not await self._is_validating(tx, slices[0].batch_seq):
                return False
            await tx.run_many(self._text("add_slice"), [repo.slice_row(s) for s in slices])
        return True

    async def accept(  # noqa: D102
        self,
        batch: Batch,
        *,
        total: int,
        model: str | None,
        now: int,
        slices: Sequence[Slice] = (),
    ) -> bool:
        async with self._database.write() as tx:
            await tx.run_many(self._text("add_last_slice"), [repo.slice_row(s) for s in slices])
            params = {"batch_seq": batch.seq, "total": total, "model": model, "now": now}
            moved = await tx.run(self._text("accept"), params) > 0
        if moved:
            self._moved.set()
        return moved

    async def reject(self, batch: Batch, faults: Sequence[Fault], *, now: int) -> bool:  # noqa: D102
        return await self._move("reject", batch, faults=repo.faults_text(faults), now=now)

    async def break_batch(self, batch: Batch, fault: Fault, *, now: int) -> bool:  # noqa: D102
        async with self._database.write() as tx:
            moved = await tx.run(
                self._text("break_batch"),
                {"batch_seq": batch.seq, "faults": repo.faults_text([fault]), "now": now},
            )
            if moved:
                await self._discard_work(tx, batch)
        return moved > 0

    async def claim(self, batch: Batch, *, slices: int, holder: str, ttl_s: float) -> Claim:  # noqa: D102
        now_ms = self._clock_ms()
        if not await self._is_claimable(batch, now_ms, holder):
            return Claim([], ttl_s)  # asked often near a batch's end: costs no durable write
        async with self._database.write() as tx:
            await tx.run(self._text("lapse_leases"), {"now_ms": now_ms, "holder": holder})
            token = await tx.row(self._text("next_token"))
            assert token is not None, "the token row is made by the first migration"
            rows = await tx.rows(
                self._text("claim"),
                {
                    "batch_seq": batch.seq,
                    "limit": slices,
                    "token": token["last"],
                    "holder": holder,
                    "until_ms": now_ms + int(ttl_s * 1000),
                },
            )
            leases = [await self._lease(tx, r) for r in sorted(rows, key=lambda r: r["first"])]
        return Claim(leases, ttl_s)

    async def renew(self, leases: Sequence[Lease], *, ttl_s: float) -> set[tuple[int, int]]:  # noqa: D102
        until_ms = self._clock_ms() + int(ttl_s * 1000)
        lost = set()
        async with self._database.write() as tx:
            for lease in leases:
                row = await tx.row(self._text("renew"), _key(lease) | {"until_ms": until_ms})
                if row is None:
                    lost.add((lease.slice.batch_seq, lease.slice.first))
        return lost

    async def release(self, leases: Sequence[Lease]) -> None:  # noqa: D102
        async with self._database.write() as tx:
            await tx.run_many(self._text("release"), [_key(lease) for lease in leases])

    async def settle(  # noqa: D102
        self, settlements: Sequence[Settlement], *, now: int, is_repeated: bool = False
    ) -> Accepted:
        async with self._database.write() as tx:
            if is_repeated:
                settlements = [await self._without_settled(tx, s) for s in settlements]
            settled = [await self._settle_one(tx, s, now) for s in settlements]
            failpoint("settle.rows")
        if any(has_drained for _, has_drained in settled):
            self._moved.set()
        return sum((accepted for accepted, _ in settled), Accepted())

    async def lapse(self, *, now: int) -> list[str]:  # noqa: D102
        async with self._database.read() as tx:
            if await tx.row(self._text("has_lapsed"), {"now": now}) is None:
                return []
        async with self._database.write() as tx:
            moved = await tx.rows(self._text("lapse"), {"now": now})
            for row in moved:
                await self._revoke(tx, row["seq"], SliceState.EXPIRED)
        return [row["id"] for row in moved]

    async def slices(self, batch: Batch) -> list[Slice]:  # noqa: D102
        async with self._database.read() as tx:
            rows = await tx.rows(self._text("slices"), {"batch_seq": batch.seq})
        return [repo.to_slice(r) for r in rows]

    async def segments(self, batch: Batch) -> list[tuple[int, SegmentRef]]:  # noqa: D102
        async with self._database.read() as tx:
            rows = await tx.rows(self._text("segments"), {"batch_seq": batch.seq})
        return [repo.to_segment(r) for r in rows]

    async def outcomes(  # noqa: D102
        self, batch: Batch, *, start: int, stop: int
    ) -> list[tuple[int, int, int]]:
        async with self._database.read() as tx:
            rows = await tx.rows(
                self._text("outcomes"), {"batch_seq": batch.seq, "start": start, "stop": stop}
            )
        return [tuple(r) for r in rows]

    async def close(  # noqa: D102
        self, batch: Batch, end: BatchStatus, *, output: File | None, error: File | None, now: int
    ) -> bool:
        async with self._database.write() as tx:
            moved = await tx.run(
                self._text(_CLOSING[end]),
                {
                    "batch_seq": batch.seq,
                    "now": now,
                    "output": output and output.id,
                    "error": error and error.id,
                },
            )
            if moved:
                for file in filter(None, (output, error)):
                    await tx.run(self._text("add_file"), repo.file_row(file))
                await self._discard_work(tx, batch)
            failpoint("publish.rows")
        return moved > 0

    async def report(self, report: FleetReport) -> None:  # noqa: D102
        async with self._database.write() as tx:
            await tx.run(self._text("report"), {"at": report.at, "body": repo.report_text(report)})

    async def wait_for_work(self, *, timeout_s: float) -> None:  # noqa: D102
        deadline = time.monotonic() + timeout_s
        while True:
            version = await self._database.version_seen()
            changed, self._version_seen = version != self._version_seen, version
            left = deadline - time.monotonic()
            if changed or left <= 0 or self._moved.is_set():
                self._moved.clear()
                return
            with suppress(
                TimeoutError
            ):  # wait_for would swallow a cancel that comes with the event
                async with asyncio.timeout(min(_LOOK_S, left)):
                    await self._moved.wait()

    async def _is_claimable(self, batch: Batch, now_ms: int, holder: str) -> bool:
        async with self._database.read() as tx:
            key = {"batch_seq": batch.seq, "now_ms": now_ms, "holder": holder}
            return await tx.row(self._text("claimable"), key) is not None

    async def _lease(self, tx: Transaction, row: Any) -> Lease:
        done: frozenset[int] = frozenset()
        if row["settled"]:
            found = await tx.rows(
                self._text("settled_lines"),
                {
                    "batch_seq": row["batch_seq"],
                    "start": row["first"],
                    "stop": row["first"] + row["count"],
                },
            )
            done = frozenset(r["line"] for r in found)
        return Lease(repo.to_slice(row), row["token"], done)

    async def _settle_one(
        self, tx: Transaction, settlement: Settlement, now: int
    ) -> tuple[Accepted, bool]:
        """Return what was accepted, and whether it was the last of its batch."""
        seq = settlement.batch_seq
        accepted = await self._under_their_token(tx, settlement)
        outcomes = [outcome for _, group in accepted for outcome in group]
        if not outcomes:
            return Accepted(), False
        segment = await tx.row(
            self._text("add_segment"),
            {
                "batch_seq": seq,
                "key": settlement.segment.key,
                "offset_bytes": settlement.segment.offset_bytes,
                "length_bytes": settlement.segment.length_bytes,
                "lines": len(outcomes),
            },
        )
        assert segment is not None, "an insert returns its row"
        await tx.run_many(
            self._text("add_outcome"),
            [(seq, o.index, OUTCOME_CODES[o.kind], segment["id"]) for o in outcomes],
        )
        await tx.run_many(
            self._text("settle_slice"),
            [_key(lease) | {"count": len(group)} for lease, group in accepted],
        )
        kinds = Counter(o.kind for o in outcomes)
        taken = Accepted(
            kinds[OutcomeKind.SUCCEEDED],
            kinds[OutcomeKind.FAILED],
            sum((o.usage for o in outcomes), Usage()),
        )
        await tx.run(
            self._text("settle_batch"),
            repo.usage_row(taken.usage)
            | {"batch_seq": seq, "completed": taken.succeeded, "failed": taken.failed},
        )
        drained = await tx.run(self._text("drain"), {"batch_seq": seq, "now": now})
        return taken, drained > 0

    async def _under_their_token(
        self, tx: Transaction, settlement: Settlement
    ) -> list[tuple[Lease, Sequence[Any]]]:
        firsts = [lease.slice.first for lease, _ in settlement.outcomes]
        rows = await tx.rows(
            self._text("held"),
            {
                "batch_seq": settlement.batch_seq,
                "firsts": msgspec.json.encode(firsts).decode(),
            },
        )
        held = {(row["first"], row["token"]) for row in rows}
        return [
            (lease, group)
            for lease, group in settlement.outcomes
            if (lease.slice.first, lease.token) in held
        ]

    async def _without_settled(self, tx: Transaction, settlement: Settlement) -> Settlement:
        outcomes: list[tuple[Lease, Sequence[Outcome]]] = []
        for lease, group in settlement.outcomes:
            piece = lease.slice
            rows = await tx.rows(
                self._text("settled_lines"),
                {
                    "batch_seq": settlement.batch_seq,
                    "start": piece.first,
                    "stop": piece.first + piece.count,
                },
            )
            settled = {row["line"] for row in rows}
            if left := [outcome for outcome in group if outcome.index not in settled]:
                outcomes.append((lease, left))
        return replace(settlement, outcomes=outcomes)

    async def _is_validating(self, tx: Transaction, batch_seq: int) -> bool:
        return await tx.row(self._text("is_validating"), {"batch_seq": batch_seq}) is not None

    async def _move(self, statement: str, batch: Batch, **params: Any) -> bool:
        async with self._database.write() as tx:
            moved = await tx.run(self._text(statement), {"batch_seq": batch.seq} | params) > 0
        if moved:
            self._moved.set()
        return moved

    async def _discard_work(self, tx: Transaction, batch: Batch) -> None:
        await self._revoke(tx, batch.seq, SliceState.CANCELLED)
        await tx.run(self._text("add_garbage"), {"key": segments_prefix(batch.id)})


def _key(lease: Lease) -> dict[str, int]:
    return {
        "batch_seq": lease.slice.batch_seq,
        "first": lease.slice.first,
        "token": lease.token,
    }
