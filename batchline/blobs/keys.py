"""The names of blobs: relative keys derived from ids. No other module makes one."""

from __future__ import annotations

import hashlib

from batchline.model import Batch, Slice

PREFIXES = ("appends/", "files/", "results/", "segments/", "uploads/")
"""All blobs that rows name are below these."""
OWNER_KEY = "owner"
"""Says which database the bytes belong to: another one must not tell which of them are needed."""


_FINISH_INDEX = "finished.idx"
_OWNED = frozenset({"appends", "results", "segments", "uploads"})


def owner_of(key: str) -> str | None:
    """Return the batch or upload that a derived key (result, segment, append, part) belongs to, or None."""
    kind, _, rest = key.partition("/")
    return rest.partition("/")[0] if kind in _OWNED else None


def file_key(file_id: str) -> str:
    """Name an uploaded or published file; its folder is one of 256."""
    return f"files/{hashlib.sha256(file_id.encode()).hexdigest()[:2]}/{file_id}"


def parts_prefix(upload_id: str) -> str:
    """Name the place of an upload's parts: garbage as a whole once the upload has ended."""
    return f"uploads/{upload_id}/"


def part_key(upload_id: str, part_id: str) -> str:
    """Name the bytes of one part."""
    return f"{parts_prefix(upload_id)}{part_id}"


def segments_prefix(batch_id: str) -> str:
    """Name the place of a batch's segments: garbage as a whole once the batch has ended."""
    return f"segments/{batch_id}/"


def appends_prefix(batch_id: str) -> str:
    """Name the place of what is appended to a batch: garbage as a whole once the batch has ended."""
    return f"appends/{batch_id}/"


def append_key(batch_id: str, number: int) -> str:
    """Name the bytes of one append."""
    return f"{appends_prefix(batch_id)}{number:016x}.jsonl"


def slice_key(batch: Batch, piece: Slice) -> str:
    """Name the blob that a slice is a range of: an append, or the input file."""
    return append_key(batch.id, piece.append) if piece.append else batch.input_key


def result_key(batch_id: str, kind: str) -> str:
    """Name the published file (`output` or `error`) of a batch: the same on every try."""
    return f"results/{batch_id}/{kind}.jsonl"


def finish_index_key(batch_id: str) -> str:
    """Name the index of a batch's published lines by when they finished."""
    return f"results/{batch_id}/{_FINISH_INDEX}"


def is_finish_index(key: str) -> bool:
    """Tell whether the key is such an index: it goes when the last result file of its batch has gone."""
    return key.startswith("results/") and key.endswith(f"/{_FINISH_INDEX}")
