"""`Conduct` on SQLite: what changed, and every move of a batch but its last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from batchline.model import Batch, Fault, FleetReport, Slice
from batchline.states import BatchStatus, SliceState
from batchline.store import repo
from batchline.store.database.direct import Direct
from batchline.store.records import Changes

from .base import SqliteParts

_LOOK_S = 0.1  # how soon another process's commit is noticed; one cheap pragma each
_CHANGES_KEPT = 100_000  # so many the table has (migration 10)


class SqliteConduct(SqliteParts):
    """The course of a batch, and what a dispatcher tells of itself."""

    _version_seen: int | None = None

    async def changes(self, *, after: int | None) -> Changes:  # noqa: D102 - contract in work
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

    async def begin(self, batch: Batch, *, holder: str) -> bool:  # noqa: D102
        key = {"batch_seq": batch.seq, "status": batch.status, "holder": holder}

        def begin(tx: Direct) -> bool:
            is_begun = tx.run(self._text("begin"), key) > 0
            if is_begun and batch.status is BatchStatus.VALIDATING:
                tx.run(self._text("drop_slices"), {"batch_seq": batch.seq})
            return is_begun

        return await self._database.at_once(begin)

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

    async def set_aside(self, batch: Batch, fault: Fault, *, now: int) -> bool:  # noqa: D102
        async with self._database.write() as tx:
            moved = await tx.run(
                self._text("set_aside"),
                {"batch_seq": batch.seq, "faults": repo.faults_text([fault]), "now": now},
            )
        return moved > 0

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

    async def report(self, report: FleetReport) -> None:  # noqa: D102
        async with self._database.write() as tx:
            await tx.run(self._text("report"), {"at": report.at, "body": repo.report_text(report)})

    async def _move(self, statement: str, batch: Batch, **params: Any) -> bool:
        async with self._database.write() as tx:
            moved = await tx.run(self._text(statement), {"batch_seq": batch.seq} | params) > 0
        if moved:
            self._moved.set()
        return moved
