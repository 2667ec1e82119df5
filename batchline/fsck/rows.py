"""The checks of one open batch's rows, each a pure function: slices, results, counts, states.

Whatever is wrong here is counted anew from the outcomes, or the input is cut again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from batchline.model import Batch
from batchline.states import OUTCOME_CODES, BatchStatus, OutcomeKind, SliceState
from batchline.store.audit import BatchRows

from .damage import Break, Damage, Mend, Recount, Recut

_SUCCEEDED = OUTCOME_CODES[OutcomeKind.SUCCEEDED]
_FAILED = OUTCOME_CODES[OutcomeKind.FAILED]
_STATES = {
    BatchStatus.VALIDATING: {SliceState.OPEN},
    BatchStatus.IN_PROGRESS: {SliceState.OPEN, SliceState.LEASED, SliceState.DONE},
    BatchStatus.FINALIZING: {SliceState.DONE, SliceState.EXPIRED},
    BatchStatus.CANCELLING: {SliceState.DONE, SliceState.CANCELLED, SliceState.EXPIRED},
}
"""In which states the slices of an open batch may be."""


def check_rows(batch: Batch, rows: BatchRows) -> Iterator[Damage]:
    """Yield what is wrong with the rows of an open batch."""
    for check in _CHECKS:
        yield from check(batch, rows)


def _slices(batch: Batch, rows: BatchRows) -> Iterator[Damage]:
    """They cover 0 .. total exactly once, in the order of the input's bytes, or of each append's."""
    line = end = wrong = append = 0
    for row in rows.slices:
        piece = row.slice
        end = end if piece.append == append else 0
        wrong += piece.first != line or piece.count < 1 or piece.offset_bytes < end
        wrong += bool(piece.append) != (batch.appends is not None)
        line, end = piece.first + piece.count, piece.offset_bytes + piece.length_bytes
        append = piece.append
    is_cut = bool(batch.counts.total)
    if wrong or (is_cut and line != batch.counts.total):
        text = f"{len(rows.slices):,} slices do not cover its {batch.counts.total:,} lines exactly once"
        yield _damage("slices", batch, text, _recut(batch, text))


def _recut(batch: Batch, text: str) -> Mend:
    """An input file can be cut again; which requests of its appends a batch has, the slices alone tell."""
    return (
        Recut(batch) if batch.appends is None else Break(batch, f"Its requests are lost: {text}.")
    )


def _appended_bytes(batch: Batch, rows: BatchRows) -> Iterator[Damage]:
    """A batch that took requests counts the bytes of those that it has."""
    found = sum(row.slice.length_bytes for row in rows.slices)
    if batch.appends is not None and batch.appends.bytes != found:
        text = f"it counts {batch.appends.bytes:,} bytes of requests, there are {found:,}"
        yield _damage("counts", batch, text)


def _slice_counts(batch: Batch, rows: BatchRows) -> Iterator[Damage]:
    """A slice counts the results of its lines, and is done exactly when all are there."""
    wrong = sum(row.settled != row.outcomes for row in rows.slices)
    if wrong:
        text = f"{wrong:,} of {len(rows.slices):,} slices count other results than there are"
        yield _damage("slices", batch, text)
    undone = sum(
        (row.outcomes == row.slice.count) != (row.state is SliceState.DONE) for row in rows.slices
    )
    if undone:
        text = f"{undone:,} of {len(rows.slices):,} slices are done too soon, or not though all lines are"
        yield _damage("slices", batch, text)


def _slice_states(batch: Batch, rows: BatchRows) -> Iterator[Damage]:
    """A slice is in a state that goes with the status of its batch."""
    wrong = {row.state for row in rows.slices} - _STATES[batch.status]
    if wrong:
        text = f"it is {batch.status}, yet slices are {', '.join(sorted(wrong))}"
        yield _damage("slices", batch, text)


def _outcomes(batch: Batch, rows: BatchRows) -> Iterator[Damage]:
    """Each result lies in a segment of the batch and in a slice, and succeeded or failed."""
    if rows.homeless:
        text = f"{rows.homeless:,} results are in no segment that is known"
        yield _damage("results", batch, text)
    outside = sum(rows.kinds.values()) - sum(row.outcomes for row in rows.slices)
    if outside:
        text = f"{outside:,} results are of lines that no slice, or more than one, has"
        yield _damage("results", batch, text)
    other = sum(n for kind, n in rows.kinds.items() if kind not in {_SUCCEEDED, _FAILED})
    if other:
        yield _damage("results", batch, f"{other:,} results are neither successes nor failures")


def _counts(batch: Batch, rows: BatchRows) -> Iterator[Damage]:
    """The batch counts its results, and moves on with the last one."""
    counts = batch.counts
    found = (rows.kinds.get(_SUCCEEDED, 0), rows.kinds.get(_FAILED, 0))
    if (counts.completed, counts.failed) != found:
        text = (
            f"it counts {counts.completed:,} completed and {counts.failed:,} failed lines, but there "
            f"are {found[0]:,} and {found[1]:,}"
        )
        yield _damage("counts", batch, text)
    is_over = sum(found) == counts.total and not batch.takes_requests
    if batch.status is BatchStatus.IN_PROGRESS and is_over:
        yield _damage("counts", batch, "all its lines are done, yet it is in progress")


def _segments(batch: Batch, rows: BatchRows) -> Iterator[Damage]:
    """A segment counts its results and those before it: this numbers lines by when they finished."""
    before = wrong = 0
    for row in rows.segments:
        wrong += row.lines != row.outcomes or row.lines_before != before
        before += row.outcomes
    if wrong:
        text = f"{wrong:,} of {len(rows.segments):,} segments number their lines wrong"
        yield _damage("segments", batch, text)


_CHECKS: tuple[Callable[[Batch, BatchRows], Iterator[Damage]], ...] = (
    _slices,
    _appended_bytes,
    _slice_counts,
    _slice_states,
    _outcomes,
    _counts,
    _segments,
)


def _damage(check: str, batch: Batch, what: str, mend: Mend | None = None) -> Damage:
    return Damage(check, batch.id, what, mend=mend or Recount(batch))
