"""`Steering` on SQLite: pause and resume, delete, retry."""

from __future__ import annotations

from batchline.model import Batch, File, NewBatch, UsedKey
from batchline.store import repo
from batchline.store.database.direct import Direct

from .intake import SqliteParts


class SqliteSteering(SqliteParts):
    """What the gateway does with batches beyond OpenAI's API."""

    async def pause_batch(self, batch_id: str, *, now: int) -> Batch | None:  # noqa: D102 - base
        async with self._database.write() as tx:
            await tx.run(self._text("pause_batch"), {"id": batch_id, "now": now})
            row = await tx.row(self._text("get_batch"), {"id": batch_id})
        return repo.to_batch(row) if row else None

    async def resume_batch(self, batch_id: str) -> Batch | None:  # noqa: D102
        async with self._database.write() as tx:
            await tx.run(self._text("resume_batch"), {"id": batch_id})
            row = await tx.row(self._text("get_batch"), {"id": batch_id})
        return repo.to_batch(row) if row else None

    async def delete_batch(self, batch_id: str) -> bool:  # noqa: D102
        async with self._database.write() as tx:
            gone = await tx.row(self._text("delete_batch"), {"id": batch_id})
            if gone is None:
                return False
            files = [gone["output_file_id"], gone["error_file_id"]]
            if await tx.row(self._text("shares_input"), {"input_key": gone["input_key"]}) is None:
                files.append(gone["input_file_id"])
            for file_id in filter(None, files):
                if file := await tx.row(self._text("delete_file"), {"id": file_id}):
                    await self._discard(tx, file["blob_key"])
        return True

    async def add_retry(self, file: File, new: NewBatch, used: UsedKey | None) -> Batch | None:  # noqa: D102
        def add(tx: Direct) -> Batch | None:
            if used is not None and not self._take_key(tx, used, now=new.created_at):
                return None
            self._insert_file(tx, file)
            return self._insert_batch(tx, new)

        return await self._database.at_once(add)
