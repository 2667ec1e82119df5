"""`POST /v1/batches/{id}/retry`: a new batch of exactly the lines that did not succeed.

The error file names them; their bytes are copied from the input file unchanged, in one pass over both files.
File and batch become rows in one transaction, so that a crash leaves neither.
"""

from __future__ import annotations

import asyncio

import msgspec
from aiohttp import web

from batchline.blobs.keys import file_key
from batchline.errors import Conflict, NotFound, StoreUnavailable
from batchline.model import Batch, File, NewBatch, UsedKey, new_batch_id, new_file_id
from gateway.answers import batch_answer
from gateway.forms import BATCH
from gateway.idempotency.by_key import HEADER, REPLAYED, Idempotency, read_key
from gateway.keys import BLOBS, SETTINGS, STORE, now
from gateway.retried_lines import Picked, Picker
from gateway.retry_request import (
    RETRY_OF,
    RetryRequest,
    merged_metadata,
    read_retry_request,
    refuse_what_cannot_be,
    retried_callback,
    retry_filename,
)
from gateway.transfer.body import read_body
from gateway.transfer.disk_space import disk_space_of
from gateway.transfer.file_sink import FileSink

from .batches import named_batch
from .create_batch import callbacks_of
from .files import expiry_of


async def retry(request: web.Request) -> web.Response:
    """POST /v1/batches/{id}/retry; the body may give a window and metadata.

    The same request under the same Idempotency-Key gets the same batch.
    """
    batch = await named_batch(request)
    wanted = read_retry_request(
        await read_body(request), min_window_s=request.app[SETTINGS].min_completion_window_s
    )
    once = _once(request, batch, wanted)
    earlier = await once.made(now=now(request)) if once else None
    if earlier is not None:
        return batch_answer(request, earlier, headers=REPLAYED)
    refuse_what_cannot_be(batch)
    metadata = merged_metadata(batch.metadata, wanted.metadata, batch_id=batch.id)
    told_at = retried_callback(
        batch.callback_url, wanted.metadata, callbacks_of(request.app[SETTINGS])
    )
    file = await _retried_file(request, batch)
    created_at = now(request)
    window_s = wanted.window_s or batch.expires_at - batch.created_at
    new = NewBatch(
        id=new_batch_id(),
        endpoint=batch.endpoint,
        input_file_id=file.id,
        input_key=file.blob_key,
        completion_window=wanted.completion_window or batch.completion_window,
        created_at=created_at,
        expires_at=created_at + window_s,
        metadata=metadata,
        output_expires_after_s=batch.output_expires_after_s,
        on_failures=batch.on_failures,
        callback_url=told_at,
        on_faults=batch.on_faults,
        requests=batch.counts.total - batch.counts.completed,
    )
    made = await _add(request, file, new, once)
    return batch_answer(request, made, headers={} if made.id == new.id else REPLAYED)


def _once(request: web.Request, batch: Batch, wanted: RetryRequest) -> Idempotency | None:
    key = read_key(request.headers.getall(HEADER, ()))
    if key is None:
        return None
    # The key includes this batch, so that a retry of another one is a conflict.
    body = msgspec.json.encode({RETRY_OF: batch.id, "wanted": wanted})
    return Idempotency(request.app[STORE], key, body)


async def _add(request: web.Request, file: File, new: NewBatch, once: Idempotency | None) -> Batch:
    """Add file and batch in one transaction; delete the bytes if there is none."""
    store, blobs = request.app[STORE], request.app[BLOBS]
    used: UsedKey | None = once.use(new) if once else None
    try:
        made = await store.add_batch(new, file=file, key=used)
    except StoreUnavailable:
        await blobs.delete(file.blob_key)
        raise
    if made is not None:
        return made
    assert once is not None, "only a key can be taken"
    await blobs.delete(file.blob_key)
    return await once.winner(new.created_at)


async def _retried_file(request: web.Request, batch: Batch) -> File:
    """Write the new input file and make its bytes durable."""
    original = await _file(request, batch, batch.input_file_id, "input")
    error = await _file(request, batch, batch.error_file_id, "error")
    file_id = new_file_id()
    disk_space_of(request).need(0)
    sink = FileSink(
        request.app[BLOBS].create(file_key(file_id)),
        max_bytes=original.bytes + 1,  # the last line may get a newline
        disk_space=disk_space_of(request),
        noun="File",
    )
    async with sink:
        try:
            await _copy(request, batch, original, error, sink)
        except NotFound as exc:
            raise Conflict(f"Cannot retry {batch.id}: the bytes of its files are gone.") from exc
        await sink.commit()
    at = now(request)
    return File(
        id=file_id,
        bytes=sink.size_bytes,
        created_at=at,
        expires_at=expiry_of(request, BATCH, None, created_at=at),
        filename=retry_filename(original.filename),
        purpose=BATCH,
        blob_key=file_key(file_id),
    )


async def _file(request: web.Request, batch: Batch, file_id: str | None, kind: str) -> File:
    file = file_id and await request.app[STORE].get_file(file_id, now=now(request))
    if not file:
        raise Conflict(
            f"Cannot retry {batch.id}: its {kind} file {file_id} was deleted or has expired."
        )
    return file


async def _copy(
    request: web.Request, batch: Batch, original: File, error: File, sink: FileSink
) -> None:
    blobs = request.app[BLOBS]
    picked = Picked(batch.counts.total)
    async for chunk in blobs.stream(error.blob_key, length=error.bytes):
        await asyncio.to_thread(picked.feed, chunk)
    picker = Picker(picked)
    async for chunk in blobs.stream(original.blob_key, length=original.bytes):
        await sink.put(await asyncio.to_thread(picker.feed, chunk))
    await sink.put(picker.finish())
    if picker.count != picked.count:
        raise StoreUnavailable(
            f"The input file {original.id} of {batch.id} is not what was run: {picker.count} of "
            f"{picked.count} lines to retry were found in it."
        )
