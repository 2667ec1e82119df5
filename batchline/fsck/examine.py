"""Looks at a whole data directory and yields what is sound and what is damaged; changes nothing.

One moment of the database is compared with the bytes. Beside running processes the caller holds deletions
back meanwhile, so that every byte that the moment names is still there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from batchline import figures
from batchline.blobs import Blobs
from batchline.errors import StoreUnavailable
from batchline.model import Batch
from batchline.states import TERMINAL, BatchStatus
from batchline.store.audit import Audit

from .contents import PAGE, check_files, check_input, check_parts, check_segments
from .damage import Damage, Found, Reindex, Sound
from .leftovers import Caution, check_leases, check_orphans, check_owner, check_strays
from .published import Published, check_ending
from .rows import check_rows

_RESTORE = "restore a backup; see docs/backup.md"


@dataclass(slots=True)
class _Tally:
    """What was looked at."""

    open: int = 0
    ended: int = 0
    lines: int = 0
    segments: int = 0
    segment_bytes: int = 0
    files: int = 0
    file_bytes: int = 0
    published: int = 0


class Examination:
    """One pass over everything. `deep` reads the contents too; `at_work`: who works here meanwhile."""

    def __init__(self, audit: Audit, blobs: Blobs, *, deep: bool, at_work: Sequence[str]) -> None:
        self._audit = audit
        self._blobs = blobs
        self._deep = deep
        self._at_work = at_work
        self._tally = _Tally()
        self._caution = Caution()

    async def run(self) -> AsyncIterator[Found]:
        """Yield findings in the order in which a fault spreads."""
        for check in (self._database, self._batches, self._files, self._rest):
            try:
                async for found in check():
                    yield self._caution.over(found)
            except StoreUnavailable as exc:
                text = f"it cannot be read to the end: {exc}"
                yield self._caution.over(Damage("database", "database", text, advice=_RESTORE))

    async def _database(self) -> AsyncIterator[Found]:
        faults = await self._audit.integrity(quick=not self._deep)
        if faults:
            text = f"{len(faults):,} faults in the file: {faults[0]}"
            yield Damage("database", "database", text, mend=Reindex(), advice=_RESTORE)
        else:
            checked = "its pages and indexes" if self._deep else "its pages"
            yield Sound("database", f"{checked} are whole")
        yield await check_owner(self._audit, self._blobs)

    async def _batches(self) -> AsyncIterator[Found]:
        after, is_sound = 0, True
        while batches := await self._audit.batches(after=after, limit=PAGE):
            for batch in batches:
                check = self._ended if batch.status in TERMINAL else self._open
                async for damage in check(batch):
                    is_sound = False
                    yield damage
            after = batches[-1].seq
        tally = self._tally
        if is_sound:
            yield Sound(
                "batches", f"{tally.open:,} open with {tally.lines:,} lines, {tally.ended:,} ended"
            )
            read = "read and proved" if self._deep else "long enough"
            size = figures.size(tally.segment_bytes)
            yield Sound("segments", f"{tally.segments:,} of open batches, {size}, {read}")
            if self._deep:
                text = f"{tally.published:,} batches: each line of the input once, under its id"
                yield Sound("results", text)

    async def _open(self, batch: Batch) -> AsyncIterator[Damage]:
        rows = await self._audit.rows_of(batch)
        self._tally.open += 1
        self._tally.lines += batch.counts.total
        self._tally.segments += len(rows.segments)
        self._tally.segment_bytes += sum(row.ref.length_bytes for row in rows.segments)
        for damage in check_rows(batch, rows):
            yield damage
        async for damage in check_input(self._blobs, batch, rows):
            yield damage
        async for damage in check_segments(self._audit, self._blobs, batch, rows, deep=self._deep):
            yield damage

    async def _ended(self, batch: Batch) -> AsyncIterator[Damage]:
        self._tally.ended += 1
        for damage in check_ending(batch):
            yield damage
        ids = [i for i in (batch.output_file_id, batch.error_file_id) if i]
        if not self._deep or batch.status is BatchStatus.FAILED or not ids:
            return
        known = await self._audit.known_files(ids)
        if not known:
            return
        self._tally.published += 1
        for damage in await Published.of(self._blobs, batch, known).check():
            yield damage

    async def _files(self) -> AsyncIterator[Found]:
        after, is_sound = 0, True
        while page := await self._audit.files(after=after, limit=PAGE):
            files = [file for _, file in page]
            async for damage in check_files(self._blobs, files):
                is_sound = False
                yield damage
            self._tally.files += len(files)
            self._tally.file_bytes += sum(file.bytes for file in files)
            after = page[-1][0]
        parts = 0
        async for found in check_parts(self._audit, self._blobs):
            if isinstance(found, Damage):
                is_sound = False
                yield found
            else:
                parts = found
        if is_sound:
            size = figures.size(self._tally.file_bytes)
            text = (
                f"{self._tally.files:,} with {size}, and {parts:,} parts of uploads, are all there"
            )
            yield Sound("files", text)

    async def _rest(self) -> AsyncIterator[Found]:
        checks: tuple[Callable[[], AsyncIterator[Found]], ...] = (
            lambda: check_strays(self._audit),
            lambda: check_leases(self._audit, self._at_work),
            lambda: check_orphans(self._audit, self._blobs),
        )
        for check in checks:
            async for found in check():
                yield found
