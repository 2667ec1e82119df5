"""Rows to records and back. Knows column names; knows no SQL and no connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from batchline.api.upload_rules import Part, Upload, UploadStatus
from batchline.model import (
    Batch,
    Counts,
    Fault,
    File,
    FleetReport,
    NewBatch,
    Segment,
    SegmentRef,
    Slice,
    Usage,
    UsedKey,
)
from batchline.states import PAUSABLE, BatchStatus, OnFailures, OnFaults
from batchline.store.records import Changes


class Row(Protocol):
    """A row by column name: sqlite3.Row, or a mapping."""

    def __getitem__(self, name: str, /) -> Any:
        """Return the column."""


_STAMPS = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)
_SAME = (
    "seq",
    "id",
    "endpoint",
    "input_file_id",
    "input_key",
    "completion_window",
    "created_at",
    "expires_at",
    "model",
    "output_expires_after_s",
    "callback_url",
    "requests",
    "output_file_id",
    "error_file_id",
    *_STAMPS,
)
_USAGE = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "total_tokens")


def to_file(row: Row) -> File:
    """Read one row of `files`."""
    return File(
        id=row["id"],
        bytes=row["bytes"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        filename=row["filename"],
        purpose=row["purpose"],
        blob_key=row["blob_key"],
    )


def file_row(file: File) -> dict[str, Any]:
    """Write one row of `files`."""
    return {name: getattr(file, name) for name in File.__dataclass_fields__}


def to_upload(row: Row) -> Upload:
    """Read one row of `uploads`."""
    values = {name: row[name] for name in Upload.__dataclass_fields__}
    return Upload(**values | {"status": UploadStatus(row["status"])})


def upload_row(upload: Upload) -> dict[str, Any]:
    """Write one row of `uploads`."""
    return {name: getattr(upload, name) for name in Upload.__dataclass_fields__}


def to_part(row: Row) -> Part:
    """Read one row of `upload_parts`."""
    return Part(**{name: row[name] for name in Part.__dataclass_fields__})


def part_row(part: Part) -> dict[str, Any]:
    """Write one row of `upload_parts`."""
    return {name: getattr(part, name) for name in Part.__dataclass_fields__}


def to_batch(row: Row) -> Batch:
    """Read one row of `batches`."""
    status = BatchStatus(row["status"])
    paused_at = row["paused_at"] if status in PAUSABLE else None
    has_faults = status is BatchStatus.FAILED or paused_at is not None
    return Batch(
        **{name: row[name] for name in _SAME},
        status=status,
        paused_at=paused_at,
        metadata=_decoded(row["metadata"], dict[str, str]),
        faults=_decoded(row["faults"], list[Fault]) if has_faults else None,
        deaths=row["deaths"] if row["completed"] + row["failed"] == row["finished_then"] else 0,
        on_failures=OnFailures(row["on_failures"]),
        on_faults=OnFaults(row["on_faults"]),
        finished_at_resume=row["finished_at_resume"],
        failed_at_resume=row["failed_at_resume"],
        is_response=bool(row["is_response"]),
        counts=Counts(row["total"], row["completed"], row["failed"]),
        usage=Usage(*(row[name] for name in _USAGE)),
    )


def to_changes(rows: Sequence[Row], *, after: int) -> Changes:
    """Read rows of `batch_changes`, each beside its batch if that is open."""
    return Changes(
        rows[-1]["number"] if rows else after,
        [to_batch(row) for row in rows if row["id"] is not None],
        frozenset(row["batch_seq"] for row in rows if row["id"] is None),
    )


def new_batch_row(new: NewBatch) -> dict[str, Any]:
    """Write a row of `batches`."""
    row = {name: getattr(new, name) for name in NewBatch.__dataclass_fields__}
    return row | {"metadata": None if new.metadata is None else _encoded(new.metadata)}


def key_row(used: UsedKey) -> dict[str, Any]:
    """Write one row of `idempotency_keys`."""
    return {name: getattr(used, name) for name in UsedKey.__dataclass_fields__}


def to_key(row: Row) -> UsedKey:
    """Read one row of `idempotency_keys`."""
    return UsedKey(
        key=row["key"],
        body_digest=row["body_digest"],
        batch_id=row["batch_id"],
        expires_at=row["expires_at"],
    )


def faults_text(faults: Sequence[Fault]) -> str:
    """Write the column `faults`."""
    return _encoded(list(faults))


def to_slice(row: Row) -> Slice:
    """Read one row of `slices`."""
    return Slice(
        batch_seq=row["batch_seq"],
        first=row["first"],
        count=row["count"],
        offset_bytes=row["offset_bytes"],
        length_bytes=row["length_bytes"],
    )


def slice_row(piece: Slice) -> dict[str, Any]:
    """Write one row of `slices`."""
    return {name: getattr(piece, name) for name in Slice.__dataclass_fields__}


def to_segment(row: Row) -> Segment:
    """Read one row of `segments`."""
    ref = SegmentRef(row["key"], row["offset_bytes"], row["length_bytes"])
    return Segment(row["id"], ref, row["lines_before"], row["lines"])


def report_text(report: FleetReport) -> str:
    """Write the column `reports.body`."""
    return _encoded(report)


def to_report(text: str) -> FleetReport:
    """Read the column `reports.body`."""
    return msgspec.json.decode(text, type=FleetReport)


def usage_row(usage: Usage) -> dict[str, int]:
    """Write the usage columns of `batches`."""
    return {name: getattr(usage, name) for name in _USAGE}


def _encoded(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _decoded(text: str | None, kind: Any) -> Any:
    return None if text is None else msgspec.json.decode(text, type=kind)
