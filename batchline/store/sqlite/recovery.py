"""What `Work` does about processes that died, on SQLite: their slices, and the deaths themselves."""

from __future__ import annotations

from collections.abc import Sequence

from batchline.model import Batch, Fault, Lease
from batchline.states import BatchStatus
from batchline.store import repo
from batchline.store.database.direct import Direct

from .intake import SqliteParts, as_json


class SqliteRecovery(SqliteParts):
    """The part of the dispatcher's store that matters after a death."""

    async def begin(self, batch: Batch, *, holder: str) -> bool:  # noqa: D102 - contract in base
        key = {"batch_seq": batch.seq, "status": batch.status, "holder": holder}

        def begin(tx: Direct) -> bool:
            is_begun = tx.run(self._text("begin"), key) > 0
            if is_begun and batch.status is BatchStatus.VALIDATING:
                tx.run(self._text("drop_slices"), {"batch_seq": batch.seq})
            return is_begun

        return await self._database.at_once(begin)

    async def recover(self, holder_prefix: str, *, died: bool) -> int:  # noqa: D102
        prefix = {"prefix": holder_prefix}
        async with self._database.write() as tx:
            if died:
                await tx.run(self._text("count_deaths"), prefix)
            await tx.run(self._text("forget_work"), prefix)
            return await tx.run(self._text("release_all"), prefix)

    async def release_others(self, holder: str, keep: Sequence[Lease]) -> int:  # noqa: D102
        kept = [(lease.slice.batch_seq, lease.slice.first) for lease in keep]
        async with self._database.write() as tx:
            return await tx.run(
                self._text("release_others"),
                {"holder": holder, "keep": as_json(kept)},
            )

    async def set_aside(self, batch: Batch, fault: Fault, *, now: int) -> bool:  # noqa: D102
        async with self._database.write() as tx:
            moved = await tx.run(
                self._text("set_aside"),
                {"batch_seq": batch.seq, "faults": repo.faults_text([fault]), "now": now},
            )
        return moved > 0
