"""`Leases` on SQLite: roles, and slices under fencing tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from batchline.model import Batch, Lease, Outcome, Settlement
from batchline.store import repo
from batchline.store.database.direct import Direct
from batchline.store.records import Claim

from .base import SqliteParts, as_json, lease_key, statement


class SqliteLeases(SqliteParts):
    """Who may do what, for a while."""

    async def hold(  # noqa: D102 - contract in work
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
                row = await tx.row(self._text("renew"), lease_key(lease) | {"until_ms": until_ms})
                if row is None:
                    lost.add((lease.slice.batch_seq, lease.slice.first))
        return lost

    async def release(self, leases: Sequence[Lease]) -> None:  # noqa: D102
        async with self._database.write() as tx:
            await tx.run_many(self._text("release"), [lease_key(lease) for lease in leases])

    async def release_others(self, holder: str, keep: Sequence[Lease]) -> int:  # noqa: D102
        kept = [(lease.slice.batch_seq, lease.slice.first) for lease in keep]
        async with self._database.write() as tx:
            return await tx.run(
                self._text("release_others"),
                {"holder": holder, "keep": as_json(kept)},
            )

    async def recover(self, holder_prefix: str, *, died: bool) -> int:  # noqa: D102
        prefix = {"prefix": holder_prefix}
        async with self._database.write() as tx:
            if died:
                await tx.run(self._text("count_deaths"), prefix)
            await tx.run(self._text("forget_work"), prefix)
            return await tx.run(self._text("release_all"), prefix)

    async def _claimable(self, seqs: Sequence[int], now_ms: int, holder: str) -> list[int]:
        """Return those of the batches that have slices to claim, in the order given."""
        asked = {"seqs": as_json(seqs), "now_ms": now_ms, "holder": holder}
        async with self._database.read() as tx:
            rows = await tx.rows(self._text("claimable"), asked)
        return [row["batch_seq"] for row in rows]

    def _lease(self, tx: Direct, row: Any) -> Lease:
        lease = Lease(repo.to_slice(row), row["token"])
        return replace(lease, done=self._settled_lines(tx, lease)) if row["settled"] else lease


def still_held(tx: Direct, settlement: Settlement) -> list[tuple[Lease, Sequence[Outcome]]]:
    """Return what of a settlement is taken: the outcomes of slices that are held under the same token."""
    asked = {
        "batch_seq": settlement.batch_seq,
        "firsts": as_json([lease.slice.first for lease, _ in settlement.outcomes]),
    }
    held = {(row["first"], row["token"]) for row in tx.rows(statement("held"), asked)}
    return [
        (lease, group)
        for lease, group in settlement.outcomes
        if (lease.slice.first, lease.token) in held
    ]
