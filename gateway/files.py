"""`/v1/files`: upload, list, show, delete. Contents go out through `content.py`."""

from __future__ import annotations

from aiohttp import web

from batchline.blobs.keys import file_key
from batchline.bodies import read_file_form
from batchline.errors import Invalid, NotFound, StoreUnavailable
from batchline.model import File, new_file_id
from batchline.settings import Settings
from batchline.wire import DeletedObject, file_list, file_object

from .answers import json_answer
from .keys import BLOBS, METRICS, SETTINGS, STORE, now
from .paging import FILES, page_query
from .uploads import Form, receive

BATCH = "batch"


async def create(request: web.Request) -> web.Response:
    """POST /v1/files: bytes first, then the row; after a refusal nothing is left."""
    file_id = new_file_id()
    blobs = request.app[BLOBS]
    settings = request.app[SETTINGS]
    writer = blobs.create(file_key(file_id))
    try:
        form = await receive(request, writer, max_bytes=settings.max_file_bytes)
        file = _checked(form, file_id, writer.size_bytes, settings=settings, at=now(request))
        await writer.commit()
    except BaseException:
        await writer.abort()
        raise
    try:
        await request.app[STORE].add_file(file)
    except StoreUnavailable:
        await blobs.delete(file.blob_key)
        raise
    request.app[METRICS].uploaded_bytes.inc(file.bytes)
    return json_answer(file_object(file))


def _checked(form: Form, file_id: str, size_bytes: int, *, settings: Settings, at: int) -> File:
    fields = read_file_form(form.fields)
    if fields.purpose == BATCH and form.is_blank:
        raise Invalid("Invalid file format for Batch API. Must be .jsonl")
    ttl_s = fields.expires_after_s
    if ttl_s is None and fields.purpose == BATCH:
        ttl_s = settings.file_ttl_s or None
    return File(
        id=file_id,
        bytes=size_bytes,
        created_at=at,
        expires_at=None if ttl_s is None else at + ttl_s,
        filename=form.filename,
        purpose=fields.purpose,
        blob_key=file_key(file_id),
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
        raise NotFound(f"No such File object: {query.after}", param="after")
    return json_answer(file_list(page))


async def show(request: web.Request) -> web.Response:
    """GET /v1/files/{id}."""
    return json_answer(file_object(await named_file(request)))


async def delete(request: web.Request) -> web.Response:
    """DELETE /v1/files/{id}: an expired file is as gone as an unknown one."""
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
    return NotFound(f"No such File object: {file_id}", param="id")
