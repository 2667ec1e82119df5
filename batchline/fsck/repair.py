"""Carries out what mends a damage. Only in a directory that nobody else works on.

Each repair is one transaction, or a file that is made whole before it is renamed, so that a repair that was
killed is simply asked for again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO, assert_never

from batchline.blobs import Blobs
from batchline.blobs.keys import finish_index_key
from batchline.errors import NotFound, StoreUnavailable
from batchline.jsonl.finish_index import pack
from batchline.jsonl.input_file import SLICE_BYTES, SLICE_LINES
from batchline.model import Batch, Fault, File, Slice
from batchline.store import Mending

from . import damage as d
from .published import BLANK, Published, lines_of

_ABANDONED_AT_ONCE = 1000
_PLACES_AT_ONCE = 1 << 16
_ORDER = (d.Reindex, d.DropRows, d.ForgetGarbage, d.RaiseToken, d.Recut, d.Recount, d.Break)
"""What comes first; the rest follows in any order."""


def plan(damages: Iterable[d.Damage]) -> list[d.Mend]:
    """Return what to carry out, in order: one recount a batch, and nothing twice."""
    bad: dict[int, set[int]] = {}
    batches: dict[int, Batch] = {}
    others: dict[str, d.Mend] = {}
    wanted = [damage.mend for damage in damages if damage.mend is not None]
    for mend in wanted:
        if isinstance(mend, d.Recount | d.Recut):
            batches[mend.batch.seq] = mend.batch
            bad.setdefault(mend.batch.seq, set())
        if isinstance(mend, d.Recount):
            bad[mend.batch.seq].update(mend.bad)
        else:
            others[repr(mend)] = mend
    recounts = [d.Recount(batches[seq], tuple(sorted(numbers))) for seq, numbers in bad.items()]
    return sorted([*others.values(), *recounts], key=_rank)


def _rank(mend: d.Mend) -> int:
    return _ORDER.index(type(mend)) if type(mend) in _ORDER else len(_ORDER)


class Repair:
    """Mends one data directory. `lost_found` is where bytes go that no row may name any more."""

    def __init__(
        self, store: Mending, blobs: Blobs, *, lost_found: Path, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._lost_found = lost_found
        self._clock = clock

    async def mend(self, what: d.Mend) -> None:  # noqa: C901, PLR0912 - one line a kind
        """Carry out one. Raises StoreUnavailable."""
        now = int(self._clock())
        match what:
            case d.Reindex():
                await self._store.reindex()
            case d.Recount(batch, bad):
                await self._store.recount(batch, without=bad, now=now)
            case d.Recut(batch):
                await self._recut(batch)
            case d.Break(batch, reason):
                fault = Fault("invalid_request", reason, None, "file_id")
                await self._store.break_batch(batch, fault, now=now)
            case d.Forget(file):
                await self._forget(file)
            case d.CancelUpload(upload_id):
                await self._store.cancel_upload(upload_id, now=now)
            case d.Reorder():
                await self._reorder(what)
            case d.ForgetGarbage(keys):
                await self._store.forget_garbage(keys)
            case d.Delete(keys, abandoned):
                await self._delete(keys, abandoned=abandoned)
            case d.DropRows(batch_seqs):
                for batch_seq in batch_seqs:
                    await self._store.drop_ownerless(batch_seq)
            case d.RaiseToken(least):
                await self._store.raise_token(least)
            case _:
                assert_never(what)

    async def _recut(self, batch: Batch) -> None:
        """Cut as admission did; a batch that is not admitted yet simply has no slices."""
        slices: list[Slice] = []
        if batch.counts.total:
            try:
                slices = [piece async for piece in self._cut(batch)]
            except NotFound:
                return  # reported, and broken, as a lost input
        await self._store.recut(batch, slices)

    async def _cut(self, batch: Batch) -> AsyncIterator[Slice]:
        first = count = start = offset = 0
        end = 0
        async for line in lines_of(self._blobs, batch.input_key):
            if line.strip(BLANK):
                if count >= SLICE_LINES or (count and offset + len(line) - start > SLICE_BYTES):
                    yield Slice(batch.seq, first, count, start, end - start)
                    first, count = first + count, 0
                start = start if count else offset
                count += 1
                end = offset + len(line)
            offset += len(line)
        if count:
            yield Slice(batch.seq, first, count, start, end - start)

    async def _forget(self, file: File) -> None:
        """Keep what is left of the bytes, then drop the file; a batch that runs keeps its input."""
        if await self._blobs.size(file.blob_key) is not None:
            await asyncio.to_thread(self._lost_found.mkdir, parents=True, exist_ok=True)
            with _refused(self._lost_found), (self._lost_found / file.id).open("wb") as kept:
                async for chunk in self._blobs.stream(file.blob_key):
                    await asyncio.to_thread(kept.write, chunk)
                await asyncio.to_thread(_sync, kept)
        await self._store.delete_file(file.id)

    async def _reorder(self, mend: d.Reorder) -> None:
        found = Published(self._blobs, mend.batch, output=mend.output, error=mend.error)
        await found.check()
        writer = self._blobs.create(finish_index_key(mend.batch.id))
        try:
            places = found.places()
            while piece := list(islice(places, _PLACES_AT_ONCE)):
                await writer.write(pack(piece))
            await writer.commit()
        finally:
            await writer.abort()  # harmless after a commit

    async def _delete(self, keys: Iterable[str], *, abandoned: bool) -> None:
        for key in keys:
            await self._blobs.delete(key)
        while abandoned:
            dropped, _ = await self._blobs.drop_abandoned(at_most=_ABANDONED_AT_ONCE)
            abandoned = dropped >= _ABANDONED_AT_ONCE


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _refused(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StoreUnavailable(f"The disk refuses {folder}: {exc.strerror or exc}") from exc
