"""`Outcomes` on SQLite: settling, and what a publication reads and closes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from batchline.model import Accepted, Batch, File, Lease, Outcome, Settlement, Slice, Usage
from batchline.process.failpoints import failpoint
from batchline.states import OUTCOME_CODES, BatchStatus, OutcomeKind
from batchline.store import repo
from batchline.store.database.direct import Direct

from .base import lease_key
from .leases import still_held
from .lookup import SqliteLookup

_CLOSING = {
    BatchStatus.COMPLETED: "close_completed",
    BatchStatus.EXPIRED: "close_expired",
    BatchStatus.CANCELLED: "close_cancelled",
}


_NO_STOP = 1 << 62


class SqliteOutcomes(SqliteLookup):
    """How lines ended, and the files that are made of it."""

    async def settle(  # noqa: D102 - contract in work
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

    async def slices(  # noqa: D102
        self, batch: Batch, *, start: int = 0, stop: int | None = None
    ) -> list[Slice]:
        lines = {"start": start, "stop": _NO_STOP if stop is None else stop}
        async with self._database.read() as tx:
            rows = await tx.rows(self._text("slices"), {"batch_seq": batch.seq} | lines)
        return [repo.to_slice(r) for r in rows]

    async def outcomes(  # noqa: D102
        self, batch: Batch, *, start: int, stop: int
    ) -> list[tuple[int, int, int]]:
        async with self._database.read() as tx:
            rows = await tx.rows(
                self._text("outcomes"), {"batch_seq": batch.seq, "start": start, "stop": stop}
            )
        return [tuple(r) for r in rows]

    async def close(  # noqa: D102
        self,
        batch: Batch,
        end: BatchStatus,
        *,
        output: File | None,
        error: File | None,
        now: int,
        joined: File | None = None,
    ) -> bool:
        files = [file for file in (output, error, joined) if file]
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

    def _settle_one(self, tx: Direct, settlement: Settlement, now: int) -> tuple[Accepted, bool]:
        """Return what was accepted, and whether it was the last of its batch."""
        seq = settlement.batch_seq
        accepted = still_held(tx, settlement)
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
            [lease_key(lease) | {"count": len(group)} for lease, group in accepted],
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

    def _without_settled(self, tx: Direct, settlement: Settlement) -> Settlement:
        outcomes: list[tuple[Lease, Sequence[Outcome]]] = []
        for lease, group in settlement.outcomes:
            settled = self._settled_lines(tx, lease)
            if left := [outcome for outcome in group if outcome.index not in settled]:
                outcomes.append((lease, left))
        return replace(settlement, outcomes=outcomes)
