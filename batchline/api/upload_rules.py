"""Uploads in parts: their records, their states, the requests that create and complete them.

    pending ─complete─► completed      (the parts, in the order asked for, are one File)
       │ └──cancel────► cancelled
       └────expires_at► expired        (an hour after creation)

Pure. The store makes the moves as compare-and-sets; `gateway/routes/uploads.py` is their HTTP side.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto

from batchline.errors import Invalid

from . import parameters
from .bodies import input_purpose
from .expires_after import expiry

UPLOAD_TTL_S = 3600  # OpenAI API reference, Uploads
MAX_PART_BYTES = 64 << 20  # as above: what `upload_file_chunked` sends
MAX_PARTS = 10_000


class UploadStatus(StrEnum):
    """OpenAI's four statuses of an upload (API reference, Upload object)."""

    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload. `bytes` is what its parts must add up to, `file_ttl_s` how long the file lives."""

    id: str
    status: UploadStatus
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    file_ttl_s: int | None = None
    file_id: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One stored part of an upload."""

    id: str
    upload_id: str
    bytes: int
    created_at: int


class Admission(Enum):
    """The result of adding a part."""

    TAKEN = auto()
    CLOSED = auto()
    """The upload is not pending any more."""
    FULL = auto()
    """The upload would have too many parts, or too many bytes in them."""


def new_upload_id() -> str:
    """Make `upload_` + 32 hexadecimal characters."""
    return "upload_" + secrets.token_hex(16)


def new_part_id() -> str:
    """Make `part_` + 32 hexadecimal characters."""
    return "part_" + secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """The checked body of `POST /v1/uploads`."""

    filename: str
    purpose: str
    bytes: int
    file_ttl_s: int | None


def read_upload_request(body: bytes, *, max_bytes: int) -> UploadRequest:
    """Decode and check the body of `POST /v1/uploads`. Unknown fields are ignored. Raises Invalid."""
    fields = parameters.json_object(body)
    parameters.string(parameters.required(fields, "mime_type"), param="mime_type")
    return UploadRequest(
        filename=parameters.string(parameters.required(fields, "filename"), param="filename"),
        purpose=input_purpose(parameters.required(fields, "purpose")),
        bytes=parameters.integer(
            parameters.required(fields, "bytes"), param="bytes", lowest=0, highest=max_bytes
        ),
        file_ttl_s=expiry(fields.get("expires_after"), param="expires_after"),
    )


@dataclass(frozen=True, slots=True)
class Completion:
    """The checked body of `POST /v1/uploads/{id}/complete`. `md5` is lower case hexadecimal."""

    part_ids: Sequence[str]
    md5: str | None


def read_completion(body: bytes) -> Completion:
    """Decode and check the body of `POST /v1/uploads/{id}/complete`. Raises Invalid."""
    fields = parameters.json_object(body)
    part_ids = parameters.strings(parameters.required(fields, "part_ids"), param="part_ids")
    if len(set(part_ids)) < len(part_ids):
        raise Invalid("Invalid 'part_ids': a part may be named only once.", param="part_ids")
    md5 = fields.get("md5")
    return Completion(
        part_ids, None if md5 is None else parameters.string(md5, param="md5").lower()
    )


def chosen(parts: Sequence[Part], wanted: Completion, upload: Upload) -> list[Part]:
    """Return the parts in the order asked for. Raises Invalid unless they add up to the upload."""
    by_id = {part.id: part for part in parts}
    for part_id in wanted.part_ids:
        if part_id not in by_id:
            raise Invalid(
                f"Upload {upload.id} has no part '{parameters.shown(part_id)}'.", param="part_ids"
            )
    found = [by_id[part_id] for part_id in wanted.part_ids]
    total = sum(part.bytes for part in found)
    if total != upload.bytes:
        raise Invalid(
            f"The parts add up to {total} bytes, but the upload was created for {upload.bytes}. "
            "Name every part in 'part_ids', in order.",
            param="part_ids",
        )
    return found
