"""`/v1/uploads`: a file sent in parts. Parts are blobs of their own; completing joins them into one.

A completion that was killed leaves the upload pending and can be repeated: each joins into a blob of its
own, and the store takes that of the latest.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

from aiohttp import web

from batchline.api.objects.file import part_object, upload_object
from batchline.api.parameters import shown
from batchline.api.upload_rules import (
    MAX_PART_BYTES,
    MAX_PARTS,
    UPLOAD_TTL_S,
    Admission,
    Completion,
    Part,
    Upload,
    UploadStatus,
    chosen,
    new_part_id,
    new_upload_id,
    read_completion,
    read_upload_request,
)
from batchline.blobs.keys import file_key, part_key
from batchline.errors import Conflict, Invalid, NotFound, StoreUnavailable
from batchline.jsonl.compression import split_ending
from batchline.model import File, new_file_id
from gateway.answers import json_answer
from gateway.forms import (
    BATCH,
    clean_filename,
    receive,
    refuse_blank,
    refuse_unreadable,
    unpacked_filename,
)
from gateway.keys import BLOBS, METRICS, SETTINGS, STORE, now
from gateway.transfer.body import read_body
from gateway.transfer.disk_space import disk_space_of
from gateway.transfer.file_sink import FileSink, pour

from .files import expiry_of


async def create(request: web.Request) -> web.Response:
    """POST /v1/uploads."""
    most = request.app[SETTINGS].max_upload_bytes
    wanted = read_upload_request(await read_body(request), max_bytes=most)
    refuse_blank(wanted.purpose, is_blank=wanted.bytes == 0)
    disk_space_of(request).need(wanted.bytes)
    at = now(request)
    upload = Upload(
        id=new_upload_id(),
        status=UploadStatus.PENDING,
        bytes=wanted.bytes,
        created_at=at,
        expires_at=at + UPLOAD_TTL_S,
        filename=clean_filename(wanted.filename),
        purpose=wanted.purpose,
        file_ttl_s=wanted.file_ttl_s,
    )
    await request.app[STORE].add_upload(upload)
    return json_answer(upload_object(upload))


async def add_part(request: web.Request) -> web.Response:
    """POST /v1/uploads/{id}/parts: any number at a time, in any order."""
    upload = await _pending(request)
    part = await _received(request, upload)
    store, key = request.app[STORE], part_key(upload.id, part.id)
    most = request.app[SETTINGS].max_upload_bytes
    try:
        admission = await store.add_part(part, now=now(request), max_bytes=most)
    except StoreUnavailable:
        await request.app[BLOBS].delete(key)
        raise
    if admission is Admission.TAKEN:
        return json_answer(part_object(part))
    await request.app[BLOBS].delete(key)
    if admission is Admission.FULL:
        raise Invalid(
            f"Upload {upload.id} is full: its parts may have {most} bytes in all, and be at most "
            f"{MAX_PARTS}."
        )
    raise await _ended(request, upload.id)


async def _received(request: web.Request, upload: Upload) -> Part:
    """Read the form and make its part durable."""
    disk_space = disk_space_of(request)
    disk_space.need(request.content_length or 0)
    part_id = new_part_id()
    writer = request.app[BLOBS].create(part_key(upload.id, part_id))
    async with FileSink(
        writer, max_bytes=MAX_PART_BYTES, disk_space=disk_space, noun="Part"
    ) as sink:
        await receive(request, sink, part="data", by_name=False)
        if sink.size_bytes == 0:
            raise Invalid("The part is empty.", param="data")
        await sink.commit()
    return Part(part_id, upload.id, sink.size_bytes, now(request))


async def complete(request: web.Request) -> web.Response:
    """POST /v1/uploads/{id}/complete."""
    upload = await _pending(request)
    wanted = read_completion(await read_body(request))
    store = request.app[STORE]
    parts = chosen(await store.parts(upload.id), wanted, upload)
    disk_space_of(request).need(upload.bytes)
    file_id = new_file_id()
    if not await store.begin_join(upload.id, file_key(file_id), now=now(request)):
        raise await _ended(request, upload.id)
    try:
        file = await _joined(request, upload, parts, wanted, file_id=file_id)
    except StoreUnavailable:  # a part is gone: the upload may just have been cancelled
        await _pending(request)
        raise
    try:
        is_mine = await store.complete_upload(upload.id, file)
    except StoreUnavailable:
        await request.app[BLOBS].delete(file.blob_key)
        raise
    if not is_mine:
        await request.app[BLOBS].delete(file.blob_key)
        raise await _ended(request, upload.id)
    request.app[METRICS].uploaded_bytes.inc(file.bytes)
    done = await store.get_upload(upload.id, now=now(request))
    assert done is not None, "an upload outlives its completion by a day"
    return json_answer(upload_object(done, file))


async def _joined(
    request: web.Request,
    upload: Upload,
    parts: Sequence[Part],
    wanted: Completion,
    *,
    file_id: str,
) -> File:
    """Write the parts one after another into the blob of a file. Raises Invalid, DiskFull."""
    coding = split_ending(upload.filename)[1] if upload.purpose == BATCH else None
    digest = None if wanted.md5 is None else hashlib.md5(usedforsecurity=False)
    async with FileSink(
        request.app[BLOBS].create(file_key(file_id)),
        max_bytes=request.app[SETTINGS].max_upload_bytes,
        disk_space=disk_space_of(request),
        noun="File",
    ) as sink:
        sink.unpack_as(coding)
        await pour(_contents(request, parts, digest), sink)
        if digest is not None and digest.hexdigest() != wanted.md5:
            raise Invalid(
                f"The MD5 of the parts, in the order of 'part_ids', is {digest.hexdigest()}, which "
                "is not the one given.",
                param="md5",
            )
        refuse_unreadable(upload.purpose, sink)
        await sink.commit()
    at = now(request)
    return File(
        id=file_id,
        bytes=sink.size_bytes,
        created_at=at,
        expires_at=expiry_of(request, upload.purpose, upload.file_ttl_s, created_at=at),
        filename=unpacked_filename(upload.filename) if coding else upload.filename,
        purpose=upload.purpose,
        blob_key=file_key(file_id),
    )


async def _contents(
    request: web.Request, parts: Sequence[Part], digest: hashlib._Hash | None
) -> AsyncIterator[bytes]:
    for part in parts:
        left = part.bytes
        chunks = request.app[BLOBS].stream(part_key(part.upload_id, part.id))
        with _lost(part):
            async for chunk in chunks:
                left -= len(chunk)
                if digest is not None:
                    await asyncio.to_thread(digest.update, chunk)
                yield chunk
        if left:
            raise StoreUnavailable(f"The stored part {part.id} is shorter than it was.")


@contextmanager
def _lost(part: Part) -> Iterator[None]:
    try:
        yield
    except NotFound as exc:  # its message names the blob, which clients must not see
        raise StoreUnavailable(f"The stored part {part.id} is gone.") from exc


async def cancel(request: web.Request) -> web.Response:
    """POST /v1/uploads/{id}/cancel: takes no body; the sweep deletes the parts."""
    upload = await _pending(request)
    if not await request.app[STORE].cancel_upload(upload.id, now=now(request)):
        raise await _ended(request, upload.id)
    cancelled = await _named(request, upload.id)
    return json_answer(upload_object(cancelled))


async def _pending(request: web.Request) -> Upload:
    """Return the upload that the path names. Raises NotFound, or Invalid if it has ended."""
    upload = await _named(request, request.match_info["upload_id"])
    if upload.status is not UploadStatus.PENDING:
        raise _not_pending(upload)
    return upload


async def _named(request: web.Request, upload_id: str) -> Upload:
    upload = await request.app[STORE].get_upload(upload_id, now=now(request))
    if upload is None:
        raise NotFound(f"No such Upload object: {shown(upload_id)}", param="id")
    return upload


async def _ended(request: web.Request, upload_id: str) -> Invalid | Conflict:
    """Return the error for an upload that was no longer pending."""
    upload = await _named(request, upload_id)
    if upload.status is UploadStatus.PENDING:
        return Conflict(f"Another completion of upload {upload_id} has taken over.")
    return _not_pending(upload)


def _not_pending(upload: Upload) -> Invalid:
    became = f" It is {upload.file_id}." if upload.file_id else " Create a new one."
    return Invalid(
        f"Upload {upload.id} takes nothing any more: its status is '{upload.status.value}'.{became}"
    )
