"""`Uploads` on SQLite: uploads in parts."""

from __future__ import annotations

from collections.abc import Sequence

from batchline.api.upload_rules import MAX_PARTS, Admission, Part, Upload
from batchline.model import File
from batchline.store import repo

from .base import SqliteParts


class SqliteUploads(SqliteParts):
    """Uploads in parts."""

    async def add_upload(self, upload: Upload) -> None:  # noqa: D102 - contract in base
        async with self._database.write() as tx:
            await tx.run(self._text("add_upload"), repo.upload_row(upload))

    async def get_upload(self, upload_id: str, *, now: int) -> Upload | None:  # noqa: D102
        async with self._database.read() as tx:
            row = await tx.row(self._text("get_upload"), {"id": upload_id, "now": now})
        return repo.to_upload(row) if row else None

    async def add_part(  # noqa: D102
        self, part: Part, *, now: int, max_bytes: int, max_parts: int = MAX_PARTS
    ) -> Admission:
        limits = {"max_bytes": max_bytes, "max_parts": max_parts, "bytes": part.bytes}
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
