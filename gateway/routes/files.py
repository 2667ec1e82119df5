"""`/v1/files`: upload, list, show, delete. `content.py` sends contents."""

from __future__ import annotations

from aiohttp import web

from batchline.api.bodies import FileForm, read_file_form
from batchline.api.objects.file import file_object
from batchline.api.objects.lists import DeletedObject, file_list
from batchline.api.parameters import shown
from batchline.blobs.keys import file_key
from batchline.errors import NotFound, StoreUnavailable
from batchline.file_expiry import upload_expires_at
from batchline.model import File, new_file_id
from batchline.process.failpoints import failpoint
from gateway.answers import json_answer
from gateway.forms import BATCH, Form, receive, refuse_unreadable, unpacked_filename
from gateway.keys import BLOBS, METRICS, SETTINGS, STORE, now
from gateway.paging import FILES, page_query
from gateway.transfer.disk_space import disk_space_of
from gateway.transfer.file_sink import FileSink, file_sink, pour


async def create(request: web.Request) -> web.Response:
    """POST /v1/files: stores bytes first, then the row; after a refusal neither is left."""
    file = await _received(request, new_file_id())
    try:
        await request.app[STORE].add_file(file)
    except StoreUnavailable:
        await request.app[BLOBS].delete(file.blob_key)
        raise
    note_stored(request, file)
    return json_answer(file_object(file))


def note_stored(request: web.Request, file: File) -> None:
    """Count the bytes of a file that has its row now."""
    failpoint("upload.stored")
    request.app[METRICS].uploaded_bytes.inc(file.bytes)


async def _received(request: web.Request, file_id: str) -> File:
    """Read the form and make its file durable; a refused file leaves nothing."""
    most = request.app[SETTINGS].max_file_bytes  # a larger one is refused for its size
    disk_space_of(request).need(min(request.content_length or 0, most))
    async with file_sink(request, file_id) as sink:
        form = await receive(request, sink, part="file", by_name=True)
        wanted = read_file_form(form.fields)
        if form.packed is None or wanted.purpose != BATCH:
            refuse_unreadable(wanted.purpose, sink)
            await sink.commit()
            return _file(request, file_id, form.filename, wanted, sink)
        await sink.commit()
    return await _unpacked(request, file_id, form, wanted)


async def _unpacked(request: web.Request, file_id: str, form: Form, wanted: FileForm) -> File:
    """Unpack a file whose purpose came after its bytes, which the blob holds as they were sent."""
    blobs, key = request.app[BLOBS], file_key(file_id)
    try:
        async with file_sink(request, file_id) as sink:
            sink.unpack_as(form.packed)
            await pour(blobs.stream(key), sink)
            refuse_unreadable(wanted.purpose, sink)
            await sink.commit()
    except BaseException:
        await blobs.delete(key)
        raise
    return _file(request, file_id, unpacked_filename(form.filename), wanted, sink)


def _file(
    request: web.Request, file_id: str, filename: str, wanted: FileForm, sink: FileSink
) -> File:
    at = now(request)
    return File(
        id=file_id,
        bytes=sink.size_bytes,
        created_at=at,
        expires_at=expiry_of(request, wanted.purpose, wanted.expires_after_s, created_at=at),
        filename=filename,
        purpose=wanted.purpose,
        blob_key=file_key(file_id),
    )


def expiry_of(
    request: web.Request, purpose: str, asked_s: int | None, *, created_at: int
) -> int | None:
    """Return when a new file expires; None: never."""
    return upload_expires_at(
        created_at,
        asked_s=asked_s,
        is_input=purpose == BATCH,
        ttl_s=request.app[SETTINGS].file_ttl_s,
    )


async def index(request: web.Request) -> web.Response:
    """GET /v1/files."""
    query = page_query(request.query, FILES)
    page = await request.app[STORE].list_files(
        now=now(request),
        after=query.after,
        limit=query.limit,
        ascending=query.ascending,
        purpose=query.purpose,
    )
    if page is None:
        raise NotFound(f"No such File object: {shown(query.after)}", param="after")
    return json_answer(file_list(page))


async def show(request: web.Request) -> web.Response:
    """GET /v1/files/{id}."""
    return json_answer(file_object(await named_file(request)))


async def delete(request: web.Request) -> web.Response:
    """DELETE /v1/files/{id}: an expired file is answered like an unknown one."""
    file = await named_file(request)
    if not await request.app[STORE].delete_file(file.id):
        raise _no_such(file.id)
    return json_answer(DeletedObject(id=file.id))


async def named_file(request: web.Request) -> File:
    """Return the file that the path names. Raises NotFound."""
    file_id = request.match_info["file_id"]
    file = await request.app[STORE].get_file(file_id, now=now(request))
    if file is None:
        raise _no_such(file_id)
    return file


def _no_such(file_id: str) -> NotFound:
    return NotFound(f"No such File object: {shown(file_id)}", param="id")
