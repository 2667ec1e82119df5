"""`/v1/batches/{id}/requests` and `/finalize`: a batch takes requests until it is finalized.

Bytes first, then the rows of all requests that are new, in one transaction; after a refusal nothing is left.
A body is held until it has ended, so that a slow client keeps no line in memory and no place from others.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from aiohttp import web

from batchline.api.appends import Added, Append, AppendLimits, Refused, new_append
from batchline.api.objects.append import AppendObject
from batchline.blobs.keys import append_key
from batchline.errors import Conflict, Invalid
from batchline.model import Batch
from batchline.process.failpoints import failpoint
from batchline.settings import Settings
from batchline.states import BatchStatus
from gateway.answers import batch_answer, json_answer
from gateway.keys import BLOBS, SETTINGS, STORE, now
from gateway.new_batches.received import SECOND_PASSES
from gateway.routes.batches import named_batch, no_such
from gateway.transfer.body import Body
from gateway.transfer.disk_space import disk_space_of
from gateway.transfer.file_sink import FileSink
from gateway.transfer.spooled_body import SHORT_BYTES, HeldBody

from .checked import CheckedRequests, RequestRules
from .requests import JsonRequests, RequestLines, Requests

NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonl")
"""The types of bodies with one request a line; any other is JSON."""
_QUICK_BYTES = 1 << 14  # what is checked in the event loop: more goes to a thread


async def append(request: web.Request) -> web.Response:
    """POST /v1/batches/{id}/requests: adds requests; those whose custom_id is there already are left out."""
    batch = await named_batch(request)
    if not batch.takes_requests:
        raise _closed(batch)
    settings = request.app[SETTINGS]
    limits = AppendLimits(settings.max_lines, settings.max_upload_bytes)
    appended = await _stored(request, batch)
    # Whether the rows were written is not known after an error: what they name must stay then.
    added = await request.app[STORE].append(batch.id, appended, limits=limits, now=now(request))
    failpoint("append.stored")
    if not isinstance(added, Added) or not added.lines:
        await request.app[BLOBS].delete(append_key(batch.id, appended.number))
    match added:
        case Refused.CLOSED:
            raise _closed(await named_batch(request))
        case Refused.FULL:
            raise _full(limits)
        case Added(lines, duplicates, total):
            return json_answer(
                AppendObject(batch_id=batch.id, added=lines, duplicates=duplicates, total=total)
            )


async def finalize(request: web.Request) -> web.Response:
    """POST /v1/batches/{id}/finalize: the batch takes no more requests, and ends with its last one."""
    batch_id = request.match_info["batch_id"]
    batch = await request.app[STORE].finalize(batch_id, now=now(request))
    if batch is None:
        raise no_such(batch_id)
    if batch.appends is None:
        raise Conflict(f"Cannot finalize {batch.id}: it was not created with 'open'.")
    return batch_answer(request, batch)


async def _stored(request: web.Request, batch: Batch) -> Append:
    """Receive the body and make its requests durable. Raises Invalid, DiskFull, and what `Body` does."""
    settings, number = request.app[SETTINGS], new_append()
    disk_space = disk_space_of(request)
    disk_space.need(min(request.content_length or 0, settings.max_file_bytes))
    async with AsyncExitStack() as stack:
        held = await stack.enter_async_context(HeldBody(settings.data_dir, disk_space=disk_space))
        requests = await _receive(request, held)
        rules = RequestRules(
            settings.max_line_bytes,
            settings.one_model_per_batch,
            settings.body_rules,
            settings.media_rules,
        )
        checked = CheckedRequests(batch, requests, rules)
        if held.size_bytes > SHORT_BYTES:
            turn = request.app[SECOND_PASSES]
            await stack.enter_async_context(turn)
        sink = await stack.enter_async_context(
            FileSink(
                request.app[BLOBS].create(append_key(batch.id, number)),
                max_bytes=settings.max_upload_bytes,
                disk_space=disk_space,
                noun="The body",
            )
        )
        async for piece in held.pieces():
            is_quick = len(piece) <= _QUICK_BYTES
            lines = (
                checked.feed(piece) if is_quick else await asyncio.to_thread(checked.feed, piece)
            )
            await sink.put(lines)
        await sink.put(checked.finish())
        await sink.commit()
    return checked.append(number)


async def _receive(request: web.Request, held: HeldBody) -> Requests:
    """Hold the whole body; return what splits it."""
    settings, frame_bytes = request.app[SETTINGS], request.client_max_size
    is_lines = request.content_type in NDJSON
    most = settings.max_file_bytes + (0 if is_lines else frame_bytes)
    body = Body(request, max_bytes=most, too_large=lambda: _too_large(most, settings))
    async for chunk in body:
        await held.add(chunk)
    if is_lines:
        return RequestLines(line_bytes=settings.max_line_bytes)
    return JsonRequests(
        line_bytes=settings.max_line_bytes,
        frame_bytes=frame_bytes,
        too_large=lambda: web.HTTPRequestEntityTooLarge(
            frame_bytes, text=f"The limit is {frame_bytes} bytes, beside its requests."
        ),
    )


def _too_large(most: int, settings: Settings) -> Exception:
    text = f"The limit is {most} bytes (BATCHLINE_MAX_FILE_BYTES={settings.max_file_bytes})."
    return web.HTTPRequestEntityTooLarge(most, text=text)


def _closed(batch: Batch) -> Conflict:
    """Say why no requests can be added."""
    if batch.appends is None:
        why = "it was not created with 'open'. Create another batch for them."
    elif batch.status is not BatchStatus.IN_PROGRESS:
        why = f"its status is '{batch.status.value}'. Create another batch for them."
    elif batch.takes_requests:
        why = "its completion window has ended. Create another batch for them."
    else:
        why = "it was finalized. Create another batch for them."
    return Conflict(f"Cannot add requests to {batch.id}: {why}")


def _full(limits: AppendLimits) -> Invalid:
    return Invalid(
        f"The batch would hold more than {limits.lines:,} requests (BATCHLINE_MAX_LINES) or "
        f"{limits.bytes:,} bytes (BATCHLINE_MAX_UPLOAD_BYTES), the most allowed. Nothing was added: "
        "finalize it, and create another batch for the others.",
        code="too_many_tasks",
    )
