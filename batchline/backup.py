"""Backing up a data directory while it is in use: one moment of the database, and every blob it names.

    snapshot   a copy of the database in one read transaction
    copy       the blobs that it names; they stay while bytes are kept (store/kept_bytes.py)
    place      everything synced, then one rename: a backup that was interrupted is never taken for one

A backup is a data directory, as if the power had gone off at that moment. Bytes are durable before rows name
them, so whatever the copied database names was there when it was copied.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from batchline import __version__, figures
from batchline.blobs import LocalBlobs, open_blobs
from batchline.blobs.folders import sync
from batchline.blobs.keys import OWNER_KEY, finish_index_key, part_key
from batchline.errors import Conflict, DiskFull, Invalid, NotFound, StoreUnavailable
from batchline.model import Batch
from batchline.process.failpoints import failpoint
from batchline.process.file_lock import try_lock
from batchline.settings import Settings
from batchline.states import TERMINAL
from batchline.store import Audit, bytes_kept, open_audit
from batchline.store.database.connection import copy_database
from batchline.store.database.schema import found_schema

log = logging.getLogger(__name__)

MANIFEST = "backup.json"
_PAGE = 1000
_AT_ONCE = 8  # each waits for its fsync most of the time
_CHUNK_BYTES = 4 << 20
_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Named:
    """A blob that the database names: as many bytes of it as it must have, None where that is unknown."""

    key: str
    size_bytes: int | None
    is_needed: bool = True


@dataclass(slots=True)
class Made:
    """What a backup holds. `missing`: what the data directory itself lacks."""

    directory: Path
    database_bytes: int = 0
    blobs: int = 0
    blob_bytes: int = 0
    missing: list[str] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """All of it."""
        return self.database_bytes + self.blob_bytes


async def back_up(
    settings: Settings,
    directory: Path,
    *,
    clock: Callable[[], float],
    on_copied: Callable[[int], None],
) -> Made:
    """Back up the data directory of `settings` into `directory`, which must not exist or be empty.

    `on_copied` is told the bytes of each blob. Raises Invalid, Conflict, DiskFull, StoreUnavailable,
    NewerStore.
    """
    _check_place(settings.data_dir.absolute(), directory)
    with _refused(directory), ExitStack() as stack:
        partial = stack.enter_context(_building(directory))
        made = await _Backup(settings, partial, clock=clock, on_copied=on_copied).make()
        failpoint("backup.copied")
        await asyncio.to_thread(_place, partial, directory)
    made.directory = directory
    return made


class _Backup:
    """One backup being made in `partial`."""

    def __init__(
        self,
        settings: Settings,
        partial: Path,
        *,
        clock: Callable[[], float],
        on_copied: Callable[[int], None],
    ) -> None:
        self._settings = settings
        self._source = LocalBlobs(settings.blobs_dir)  # as it is: nothing is made there
        self._partial = partial
        self._copy = settings.model_copy(update={"data_dir": partial})
        self._target = open_blobs(self._copy.blobs_dir)
        self._clock = clock
        self._on_copied = on_copied
        self._made = Made(partial)

    async def make(self) -> Made:
        """Copy everything; a second moment settles whether what was missing in the first is lost."""
        path = self._settings.database_path
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(bytes_kept(path, clock_ms=self._clock_ms))
            except StoreUnavailable as exc:  # a disk that takes no more bytes is worth a backup
                log.warning("bytes may be deleted before they are copied: %s", exc)
            for _ in range(_ROUNDS):
                self._made = Made(self._partial)
                made_at = int(self._clock())
                await self._snapshot()
                await self._copy_blobs()
                if not self._made.missing:
                    break
        await asyncio.to_thread(self._write_manifest, made_at)
        return self._made

    def _clock_ms(self) -> int:
        return int(self._clock() * 1000)

    async def _snapshot(self) -> None:
        copy, source = self._copy.database_path, self._settings.database_path
        self._need(source.stat().st_size)
        copy.unlink(missing_ok=True)
        await copy_database(source, copy)
        self._made.database_bytes = copy.stat().st_size
        failpoint("backup.snapshot")

    async def _copy_blobs(self) -> None:
        async with open_audit(self._copy.database_path) as audit:
            wanted = 0
            async for named in named_blobs(audit):
                wanted += await self._left(named)
            self._need(wanted)
            several: list[Named] = []
            async for named in named_blobs(audit):
                several.append(named)
                if len(several) == _AT_ONCE:
                    await self._copy_each(several)
                    several = []
            await self._copy_each(several)

    async def _copy_each(self, several: Sequence[Named]) -> None:
        """Copy them at the same time, each to its end: after a failure the folder is deleted."""
        ends = await asyncio.gather(*map(self._copy_blob, several), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _left(self, named: Named) -> int:
        """Return how many bytes of it are still to be copied."""
        size = named.size_bytes
        if size is None:
            size = await self._source.size(named.key) or 0
        return max(0, size - (await self._target.size(named.key) or 0))

    async def _copy_blob(self, named: Named) -> None:
        there = await self._source.size(named.key)
        size = there if named.size_bytes is None else named.size_bytes
        copied = await self._target.size(named.key)
        if copied is None or copied != size:
            copied = await self._pour(named.key, size)
        if copied is not None:
            self._made.blobs += 1
            self._made.blob_bytes += copied
        if named.is_needed and (copied is None or copied != size):
            self._made.missing.append(named.key)

    async def _pour(self, key: str, size: int | None) -> int | None:
        """Copy up to `size` bytes of the blob; return how many there were, or None for no blob."""
        writer = self._target.create(key)
        try:
            chunks = self._source.stream(key, length=size, chunk_bytes=_CHUNK_BYTES)
            async for chunk in chunks:
                await writer.write(chunk)
                self._on_copied(len(chunk))
            await writer.commit()
        except NotFound:
            return None
        finally:
            await writer.abort()  # harmless after a commit
        return writer.size_bytes

    def _need(self, size_bytes: int) -> None:
        """Check that there is room, and that batchline itself keeps its share. Raises DiskFull."""
        free = shutil.disk_usage(self._partial).free
        data_dir, kept = self._settings.data_dir, 0
        if data_dir.stat().st_dev == self._partial.stat().st_dev:
            kept = self._settings.min_free_bytes
        if free < size_bytes + kept:
            share = f", and {figures.size(kept)} are kept free for batchline" if kept else ""
            raise DiskFull(
                f"The backup needs {figures.size(size_bytes)}, but its disk has "
                f"{figures.size(free)} left{share}."
            )

    def _write_manifest(self, made_at: int) -> None:
        manifest = {
            "made_at": made_at,
            "version": __version__,
            "schema": found_schema(self._copy.database_path),
            "blobs": self._made.blobs,
            "bytes": self._made.size_bytes,
            "missing": self._made.missing,
        }
        (self._partial / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


async def named_blobs(audit: Audit) -> AsyncIterator[Named]:
    """Yield every blob that a database needs, each once."""
    yield Named(OWNER_KEY, None, is_needed=False)
    after = 0
    while files := await audit.files(after=after, limit=_PAGE):
        for number, file in files:
            yield Named(file.blob_key, file.bytes)
            after = number
    after = 0
    while batches := await audit.batches(after=after, limit=_PAGE):
        async for named in _of_batches(audit, batches):
            yield named
        after = batches[-1].seq
    place = ("", "")
    while parts := await audit.parts(after=place, limit=_PAGE):
        for part in parts:
            yield Named(part_key(part.upload_id, part.id), part.bytes)
            place = (part.upload_id, part.id)


async def _of_batches(audit: Audit, batches: Sequence[Batch]) -> AsyncIterator[Named]:
    """Yield what batches name beside files: indexes, segments, appends, inputs that were deleted."""
    ids = {i for b in batches for i in (b.input_file_id, b.output_file_id, b.error_file_id) if i}
    known = await audit.known_files(ids)
    for batch in batches:
        if batch.status in TERMINAL:
            if batch.output_file_id in known or batch.error_file_id in known:
                yield Named(finish_index_key(batch.id), None, is_needed=False)
            continue
        if batch.input_file_id not in known and batch.appends is None:
            yield Named(batch.input_key, None)
        for key, size_bytes in (await audit.files_of(batch)).items():
            yield Named(key, size_bytes)


def _check_place(data_dir: Path, directory: Path) -> None:
    target = directory.absolute()
    if target.is_relative_to(data_dir) or data_dir.is_relative_to(target):
        raise Invalid(f"{directory} and the data directory {data_dir} lie in one another.")
    if directory.is_mount():
        raise Invalid(f"{directory} is a mount point: name a new folder below it.")
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise Invalid(f"{directory} is there already: name a folder that is new or empty.")


@contextmanager
def _building(directory: Path) -> Iterator[Path]:
    """Make the folder in which the backup grows, beside its place; it goes unless it was renamed."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = directory.with_name(f".{directory.name}.partial")
    lock = directory.with_name(f".{directory.name}.lock")
    with lock.open("w") as file:
        if not try_lock(file):
            raise Conflict(f"Another backup into {directory} is under way.")
        try:
            shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
            partial.mkdir()
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            lock.unlink(missing_ok=True)


def _place(partial: Path, directory: Path) -> None:
    """Sync all files and folders, then rename."""
    shutil.rmtree(partial / "blobs" / "tmp", ignore_errors=True)
    for folder, _, names in os.walk(partial):
        for name in names if Path(folder) == partial else ():  # blobs are synced one by one
            sync(Path(folder) / name)
        sync(Path(folder))
    partial.rename(directory)
    sync(directory.parent)


@contextmanager
def _refused(directory: Path) -> Iterator[None]:
    try:
        yield
    except DiskFull as exc:
        raise DiskFull(f"There is no room for a backup in {directory}. {exc}") from exc
    except OSError as exc:
        raise StoreUnavailable(f"The disk refuses {directory}: {exc.strerror or exc}") from exc
