"""`Uploads` on SQLite: uploads in parts, and the end of those that nobody finishes."""

from __future__ import annotations

from collections.abc import Sequence

from batchline.api.uploads import MAX_PARTS, Admission, Part, Upload
from batchline.blobs.keys import parts_prefix
from batchline.model import File
from batchline.store import repo
from batchline.store.database.connection import Transaction

from .intake import SqliteParts

_KEPT_S = (
    86400  # ended uploads are known for a day more, so that late calls learn what became of them
)


class SqliteUploads(SqliteParts):
    """The gateway's part of the store for uploads, and the sweep's."""

    async def add_upload(self, upload: Upload) -> None:  # noqa: D102 - contract in base
        async with self._database.write() as tx:
            await tx.run(self._text("add_upload"), repo.upload_row(upload))

    async def get_upload(self, upload_id: str, *, now: int) -> Upload | None:  # noqa: D102
        async with self._database.read() as tx:
            row = await tx.row(self._text("get_upload"), {"id": upload_id, "now": now})
        return repo.to_upload(row) if row else None

    async def add_part(self, part: Part, *, now: int, max_bytes: int) -> Admission:  # noqa: D102
        limits = {"max_bytes": max_bytes, "max_parts": MAX_PARTS, "bytes": part.bytes}
        async with self._database.write() as tx:
            row = await tx.row(
                self._text("room_for_part"), limits | {"id": part.upload_id, "now": now}
            )
            if row is None:
                return Admission.CLOSED
            if not row["has_room"]:
                return Admission.FULL
            await tx.run(self._text("add_part"), repo.part_row(part))
        return Admission.TAKEN

    async def parts(self, upload_id: str) -> Sequence[Part]:  # noqa: D102
        async with self._database.read() as tx:
            rows = await tx.rows(self._text("parts"), {"upload_id": upload_id})
        return [repo.to_part(row) for row in rows]

    async def begin_join(self, upload_id: str, key: str, *, now: int) -> bool:  # noqa: D102
        async with self._database.write() as tx:
            await tx.run(self._text("joining_to_garbage"), {"id": upload_id})
            begun = await tx.run(
                self._text("begin_join"), {"id": upload_id, "key": key, "now": now}
            )
        return begun > 0

    async def complete_upload(self, upload_id: str, file: File) -> bool:  # noqa: D102
        values = {"id": upload_id, "file_id": file.id, "key": file.blob_key}
        async with self._database.write() as tx:
            if not await tx.run(self._text("complete_upload"), values):
                return False
            await tx.run(self._text("add_file"), repo.file_row(file))
            await self._drop_parts(tx, upload_id)
        return True

    async def cancel_upload(self, upload_id: str, *, now: int) -> bool:  # noqa: D102
        async with self._database.write() as tx:
            if not await tx.run(self._text("cancel_upload"), {"id": upload_id, "now": now}):
                return False
            await self._drop_parts(tx, upload_id)
        return True

    async def expire_uploads(self, *, now: int, limit: int) -> int:  # noqa: D102
        due = {"now": now, "before": now - _KEPT_S, "limit": limit}
        async with self._database.read() as tx:
            if await tx.row(self._text("has_old_uploads"), due) is None:
                return 0
        async with self._database.write() as tx:
            rows = await tx.rows(self._text("expire_uploads"), due)
            for row in rows:
                await self._drop_parts(tx, row["id"])
            await tx.run(self._text("forget_uploads"), due)
        return len(rows)

    async def _drop_parts(self, tx: Transaction, upload_id: str) -> None:
        await tx.run(self._text("joining_to_garbage"), {"id": upload_id})
        await tx.run(self._text("drop_parts"), {"upload_id": upload_id})
        await tx.run(self._text("add_garbage"), {"key": parts_prefix(upload_id)})
