"""The checks of bytes that rows name: inputs, segments, files, parts of uploads.

A disk that refuses to be read is no damage that may be mended: such findings have no remedy but yours.
"""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Sequence

from batchline import figures
from batchline.blobs import Blobs
from batchline.blobs.keys import part_key, slice_key
from batchline.errors import NotFound, StoreUnavailable
from batchline.model import Batch, File
from batchline.states import BatchStatus
from batchline.store.audit import Audit, BatchRows, SegmentRow

from .damage import Break, CancelUpload, Damage, Forget, Recount

PAGE = 1000
_OUTCOMES_AT_ONCE = 20_000


async def check_input(blobs: Blobs, batch: Batch, rows: BatchRows) -> AsyncIterator[Damage]:
    """Yield what is wrong if lines that must still be read cannot be."""
    if batch.appends is not None:
        async for damage in _check_appends(blobs, batch, rows):
            yield damage
        return
    total = batch.counts.total
    has_unrun = batch.status is BatchStatus.VALIDATING or sum(rows.kinds.values()) < total
    if not has_unrun:
        return
    size = await blobs.size(batch.input_key)
    # A last line without a newline counts one byte more than there is.
    end = max((r.slice.offset_bytes + r.slice.length_bytes for r in rows.slices), default=1) - 1
    if size is None or size < end:
        text = "are gone" if size is None else f"are {size:,}, it needs {end:,}"
        reason = f"The bytes of its input file {batch.input_file_id} {text}."
        yield Damage("input", batch.id, reason, mend=Break(batch, reason))


async def _check_appends(blobs: Blobs, batch: Batch, rows: BatchRows) -> AsyncIterator[Damage]:
    """All of them are read once more when the batch ends, whatever has been answered."""
    ends: dict[str, int] = {}
    for row in rows.slices:
        key, end = slice_key(batch, row.slice), row.slice.offset_bytes + row.slice.length_bytes
        ends[key] = max(end, ends.get(key, 0))
    lost = [key for key, end in ends.items() if (await blobs.size(key) or 0) < end]
    if lost:
        reason = f"{len(lost):,} of {len(ends):,} appends are gone, or cut short: {lost[0]}."
        yield Damage("input", batch.id, reason, mend=Break(batch, reason))


async def check_segments(
    audit: Audit, blobs: Blobs, batch: Batch, rows: BatchRows, *, deep: bool
) -> AsyncIterator[Damage]:
    """Yield what is wrong with the segments of an open batch: `deep` reads and checks every byte."""
    home = await _homes(audit, batch) if deep else array("Q")
    bad: list[SegmentRow] = []
    reason = ""
    for row in rows.segments:
        try:
            if deep:
                index = await blobs.read_segment_index(row.ref)
                lines = {i for i, _, _ in index if i < len(home) and home[i] == row.number}
                fault = "" if len(lines) == row.outcomes else f"{row.ref.key} lacks lines."
            else:
                fault = await _too_short(blobs, row)
        except NotFound:
            fault = f"The bytes of {row.ref.key} are gone."
        except StoreUnavailable as exc:
            if isinstance(exc.__cause__, OSError):
                yield Damage("segments", batch.id, str(exc), advice="mend the disk, or its rights")
                continue
            fault = str(exc)
        if fault:
            bad.append(row)
            reason = reason or fault
    if bad:
        lost = sum(row.outcomes for row in bad)
        text = (
            f"{len(bad):,} of {len(rows.segments):,} segments are damaged, and with them "
            f"{lost:,} results. {reason}"
        )
        numbers = tuple(row.number for row in bad)
        yield Damage("segments", batch.id, text, mend=Recount(batch, numbers))


async def _homes(audit: Audit, batch: Batch) -> array[int]:
    """Return the segment number of each line, 0 for none."""
    home = array("Q", bytes(8 * batch.counts.total))
    for start in range(0, batch.counts.total, _OUTCOMES_AT_ONCE):
        stop = min(start + _OUTCOMES_AT_ONCE, batch.counts.total)
        for line, _, segment in await audit.outcomes(batch, start=start, stop=stop):
            home[line] = segment
    return home


async def _too_short(blobs: Blobs, row: SegmentRow) -> str:
    size = await blobs.size(row.ref.key)
    if size is None:
        return f"The bytes of {row.ref.key} are gone."
    end = row.ref.offset_bytes + row.ref.length_bytes
    return "" if size >= end else f"{row.ref.key} has {size:,} bytes, not {end:,}."


async def check_files(blobs: Blobs, files: Sequence[File]) -> AsyncIterator[Damage]:
    """Yield the files whose bytes are not what their rows say."""
    for file in files:
        size = await blobs.size(file.blob_key)
        if size == file.bytes:
            continue
        fault = (
            "its bytes are gone" if size is None else f"it has {size:,} bytes, not {file.bytes:,}"
        )
        text = f"{fault} ({file.filename}, {figures.size(file.bytes)})"
        yield Damage("files", file.id, text, mend=Forget(file))


async def check_parts(audit: Audit, blobs: Blobs) -> AsyncIterator[Damage | int]:
    """Yield the uploads of which a part is lost, and in the end how many parts there are."""
    after, looked = ("", ""), 0
    broken: set[str] = set()
    while parts := await audit.parts(after=after, limit=PAGE):
        for part in parts:
            size = await blobs.size(part_key(part.upload_id, part.id))
            if size != part.bytes and part.upload_id not in broken:
                broken.add(part.upload_id)
                text = f"its part {part.id} is not what was sent"
                yield Damage("uploads", part.upload_id, text, mend=CancelUpload(part.upload_id))
        looked += len(parts)
        after = (parts[-1].upload_id, parts[-1].id)
    yield looked
