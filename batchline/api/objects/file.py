"""Files, uploads and their parts, as clients see them."""

from __future__ import annotations

from typing import Literal

import msgspec

from batchline.api.upload_rules import Part, Upload
from batchline.model import File


class FileObject(msgspec.Struct, frozen=True, kw_only=True):
    """A file, as clients see it."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: None = None


class UploadObject(msgspec.Struct, frozen=True, kw_only=True):
    """An upload in parts, as clients see it; `file` once it is completed."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: str
    file: FileObject | None


class PartObject(msgspec.Struct, frozen=True, kw_only=True):
    """One part of an upload, as clients see it."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


def file_object(file: File) -> FileObject:
    """Show a file to a client."""
    return FileObject(
        id=file.id,
        bytes=file.bytes,
        created_at=file.created_at,
        expires_at=file.expires_at,
        filename=file.filename,
        purpose=file.purpose,
    )


def upload_object(upload: Upload, file: File | None = None) -> UploadObject:
    """Show an upload to a client."""
    return UploadObject(
        id=upload.id,
        bytes=upload.bytes,
        created_at=upload.created_at,
        expires_at=upload.expires_at,
        filename=upload.filename,
        purpose=upload.purpose,
        status=upload.status.value,
        file=None if file is None else file_object(file),
    )


def part_object(part: Part) -> PartObject:
    """Show one part of an upload to a client."""
    return PartObject(id=part.id, created_at=part.created_at, upload_id=part.upload_id)
