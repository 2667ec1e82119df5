"""`Work` on SQLite: admission, leases, settling, publishing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from batchline.blobs.keys import segments_prefix
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
from batchline.process.failpoints import failpoint
from batchline.states import OUTCOME_CODES, BatchStatus, OutcomeKind, SliceState
from batchline.store import repo
from batchline.store.database.direct import Direct

from .intake import SqliteParts, as_json

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
        rows = [repo.slice_row(s) for s in slices]

        def add(tx: Direct) -> bool:
            key = {"batch_seq": slices[0].batch_seq}
            if tx.row(self._text("is_validating"), key) is None:
                return False
            tx.run_many(self._text("add_slice"), rows)
            return True

        return await self._database.at_once(add)

    async def accept(  # noqa: D102
        self,
        batch: Batch,
        *,
        total: int,
        model: str | None,
        now: int,
        slices: Sequence[Slice] = (),
    ) -> bool:
        rows = [repo.slice_row(s) for s in slices]

        def accept(tx: Direct) -> bool:
            tx.run_many(self._text("add_last_slice"), rows)
            params = {"batch_seq": batch.seq, "total": total, "model": model, "now": now}
            return tx.run(self._text("accept"), params) > 0

        moved = await self._database.at_once(accept)
        if moved:
            self._moved.set()
        return moved

    async def reject(self, batch: Batch, faults: Sequence[Fault], *, now: int) -> bool:  # noqa: D102
        return await self._move("reject", batch, faults=repo.faults_text(faults), now=now)

    async def break_batch(self, batch: Batch, fault: Fault, *, now: int) -> bool:  # noqa: D102
        params = {"batch_seq": batch.seq, "faults": repo.faults_text([fault]), "now": now}

        def break_off(tx: Direct) -> bool:
            moved = tx.run(self._text("break_batch"), params) > 0
            if moved:
                self._discard_work(tx, batch)
            return moved

        return await self._database.at_once(break_off)

    async def claim_each(  # noqa: D102
        self, wanted: Sequence[tuple[Batch, int]], *, holder: str, ttl_s: float
    ) -> Claim:
        now_ms = self._clock_ms()
        limits = {batch.seq: slices for batch, slices in wanted}
        claimable = await self._claimable(list(limits), now_ms, holder)
        if not claimable:
            return Claim([], ttl_s)  # asked often near a batch's end: costs no durable write
        lease = {"holder": holder, "until_ms": now_ms + int(ttl_s * 1000)}

        def claim(tx: Direct) -> list[Lease]:
            tx.run(self._text("lapse_leases"), {"now_ms": now_ms, "holder": holder})
            token = tx.row(self._text("next_token"))
            assert token is not None, "the token row is made by the first migration"
            leases: list[Lease] = []
            for seq in claimable:
                params = lease | {"token": token["last"], "batch_seq": seq, "limit": limits[seq]}
                rows = tx.rows(self._text("claim"), params)
                leases += [self._lease(tx, r) for r in sorted(rows, key=lambda r: r["first"])]
            return leases

        return Claim(await self._database.at_once(claim), ttl_s)

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
        def settle(tx: Direct) -> list[tuple[Accepted, bool]]:
            offered = settlements
            if is_repeated:
                offered = [self._without_settled(tx, s) for s in settlements]
            found = [self._settle_one(tx, s, now) for s in offered]
            failpoint("settle.rows")
            return found

        settled = await self._database.at_once(settle)
        if any(has_drained for _, has_drained in settled):
            self._moved.set()
        return sum((accepted for accepted, _ in settled), Accepted())

    async def lapse(self, *, now: int) -> list[str]:  # noqa: D102
        async with self._database.read() as tx:
            if await tx.row(self._text("has_lapsed"), {"now": now}) is None:
                return []

        def lapse(tx: Direct) -> list[str]:
            moved = tx.rows(self._text("lapse"), {"now": now})
            for row in moved:
                self._revoke(tx, row["seq"], SliceState.EXPIRED)
            return [row["id"] for row in moved]

        return await self._database.at_once(lapse)

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
        files = [file for file in (output, error) if file]
        params = {
            "batch_seq": batch.seq,
            "now": now,
            "output": output and output.id,
            "error": error and error.id,
        }

        def close(tx: Direct) -> bool:
            moved = tx.run(self._text(_CLOSING[end]), params) > 0
            if moved:
                tx.run_many(self._text("add_file"), [repo.file_row(file) for file in files])
                self._discard_work(tx, batch)
            failpoint("publish.rows")
            return moved

        return await self._database.at_once(close)

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

    async def _claimable(self, seqs: Sequence[int], now_ms: int, holder: str) -> list[int]:
        """Return those of the batches that have slices to claim, in the order given."""
        asked = {"seqs": as_json(seqs), "now_ms": now_ms, "holder": holder}
        async with self._database.read() as tx:
            rows = await tx.rows(self._text("claimable"), asked)
        return [row["batch_seq"] for row in rows]

    def _lease(self, tx: Direct, row: Any) -> Lease:
        done: frozenset[int] = frozenset()
        if row["settled"]:
            found = tx.rows(
                self._text("settled_lines"),
                {
                    "batch_seq": row["batch_seq"],
                    "start": row["first"],
                    "stop": row["first"] + row["count"],
                },
            )
            done = frozenset(r["line"] for r in found)
        return Lease(repo.to_slice(row), row["token"], done)

    def _settle_one(self, tx: Direct, settlement: Settlement, now: int) -> tuple[Accepted, bool]:
        """Return what was accepted, and whether it was the last of its batch."""
        seq = settlement.batch_seq
        accepted = self._under_their_token(tx, settlement)
        outcomes = [outcome for _, group in accepted for outcome in group]
        if not outcomes:
            return Accepted(), False
        segment = tx.row(
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
        tx.run_many(
            self._text("add_outcome"),
            [(seq, o.index, OUTCOME_CODES[o.kind], segment["id"]) for o in outcomes],
        )
        tx.run_many(
            self._text("settle_slice"),
            [_key(lease) | {"count": len(group)} for lease, group in accepted],
        )
        kinds = Counter(o.kind for o in outcomes)
        taken = Accepted(
            kinds[OutcomeKind.SUCCEEDED],
            kinds[OutcomeKind.FAILED],
            sum((o.usage for o in outcomes), Usage()),
        )
        tx.run(
            self._text("settle_batch"),
            repo.usage_row(taken.usage)
            | {"batch_seq": seq, "completed": taken.succeeded, "failed": taken.failed},
        )
        drained = tx.run(self._text("drain"), {"batch_seq": seq, "now": now})
        return taken, drained > 0

    def _under_their_token(
        self, tx: Direct, settlement: Settlement
    ) -> list[tuple[Lease, Sequence[Any]]]:
        firsts = [lease.slice.first for lease, _ in settlement.outcomes]
        rows = tx.rows(
            self._text("held"),
            {
                "batch_seq": settlement.batch_seq,
                "firsts": as_json(firsts),
            },
        )
        held = {(row["first"], row["token"]) for row in rows}
        return [
            (lease, group)
            for lease, group in settlement.outcomes
            if (lease.slice.first, lease.token) in held
        ]

    def _without_settled(self, tx: Direct, settlement: Settlement) -> Settlement:
        outcomes: list[tuple[Lease, Sequence[Outcome]]] = []
        for lease, group in settlement.outcomes:
            piece = lease.slice
            rows = tx.rows(
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

    async def _move(self, statement: str, batch: Batch, **params: Any) -> bool:
        async with self._database.write() as tx:
            moved = await tx.run(self._text(statement), {"batch_seq": batch.seq} | params) > 0
        if moved:
            self._moved.set()
        return moved

    def _discard_work(self, tx: Direct, batch: Batch) -> None:
        self._revoke(tx, batch.seq, SliceState.CANCELLED)
        tx.run(self._text("add_garbage"), {"key": segments_prefix(batch.id)})


def _key(lease: Lease) -> dict[str, int]:
    return {
        "batch_seq": lease.slice.batch_seq,
        "first": lease.slice.first,
        "token": lease.token,
    }
