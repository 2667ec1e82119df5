"""A batch's finished lines, whether it runs or has ended, and while it goes from one to the other.

    follow     in the order in which the lines finish, until the batch has ended
    snapshot   in input order, those of a window of finish numbers

Holds no transaction while a caller waits; memory does not grow with the results.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from batchline.blobs import Blobs
from batchline.errors import NotFound, StoreUnavailable
from batchline.model import Batch, File
from batchline.states import TERMINAL, BatchStatus
from batchline.store import Results

from .pieces import Window
from .published import Published
from .settled import KnownPlaces, Moved, Settled


class Reader:
    """Reads results for clients. Raises NotFound where files or the batch are gone."""

    def __init__(
        self, store: Results, blobs: Blobs, *, clock: Callable[[], float], known: KnownPlaces
    ) -> None:
        """Begin. `known`: shared by the readers of a process."""
        self._known = known
        self._store = store
        self._blobs = blobs
        self._clock = clock

    async def follow(self, batch: Batch, *, after: int) -> AsyncGenerator[list[bytes], None]:
        """Yield the records numbered above `after` as lines finish, and [] while there is no more yet.

        Ends when the batch has ended and all was yielded. A batch that failed has no results.
        """
        while batch.status not in TERMINAL:
            try:
                async for records in self._settled(batch).by_finish(after):
                    yield records
                    after += len(records)
            except Moved:
                await self._ended(batch)
            yield []
            batch = await self._again(batch)
        if batch.status is not BatchStatus.FAILED:
            async for records in (await self._published(batch)).by_finish(after):
                yield records

    async def snapshot(
        self, batch: Batch, window: Window, *, only_failed: bool = False
    ) -> AsyncGenerator[list[bytes], None]:
        """Yield the records of the window in input order, with `only_failed` no successful ones."""
        start = 0
        if batch.status not in TERMINAL:
            settled = self._settled(batch)
            try:
                async for following, records in settled.by_input(window, only_failed=only_failed):
                    yield records
                    start = following
            except Moved:
                batch = await self._ended(batch)
                if batch.status is BatchStatus.FAILED:
                    raise NotFound(f"The results of {batch.id} are gone: it failed.") from None
            else:
                return
        if batch.status is not BatchStatus.FAILED:
            files = await self._published(batch, only_failed=only_failed)
            async for records in files.by_input(window, start=start):
                yield records

    def _settled(self, batch: Batch) -> Settled:
        return Settled(self._store, self._blobs, batch, known=self._known)

    async def _published(self, batch: Batch, *, only_failed: bool = False) -> Published:
        output = None if only_failed else await self._file(batch, batch.output_file_id, "output")
        error = await self._file(batch, batch.error_file_id, "error")
        return Published(self._blobs, batch, output=output, error=error)

    async def _file(self, batch: Batch, file_id: str | None, kind: str) -> File | None:
        if file_id is None:
            return None
        file = await self._store.get_file(file_id, now=int(self._clock()))
        if file is None:
            raise NotFound(
                f"The results of {batch.id} are gone: its {kind} file {file_id} was deleted or has "
                "expired."
            )
        return file

    async def _ended(self, batch: Batch) -> Batch:
        """Return the batch as it ended. Raises StoreUnavailable if it did not, yet bytes are gone."""
        found = await self._again(batch)
        if found.status not in TERMINAL:
            raise StoreUnavailable(f"Results of {batch.id} cannot be read: their bytes are gone.")
        return found

    async def _again(self, batch: Batch) -> Batch:
        found = await self._store.get_batch(batch.id)
        if found is None:
            raise NotFound(f"No batch found with id '{batch.id}': it was deleted.")
        return found
