"""`POST /v1/batches`: over an uploaded file, over requests that come with it, or open for those that follow.

Bytes first, then the rows of file and batch in one transaction; after a refusal nothing is left. Lines are
read later, by the dispatcher.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial

from aiohttp import web

from batchline.api.bodies import BatchRequest, read_batch_request
from batchline.api.callback import Callbacks
from batchline.api.offered_endpoints import check_offered
from batchline.api.parameters import JsonObject, shown
from batchline.blobs.keys import file_key
from batchline.errors import Invalid, StoreUnavailable
from batchline.model import (
    RESPONSE_PURPOSE,
    Batch,
    File,
    NewBatch,
    UsedKey,
    new_batch_id,
    new_file_id,
)
from batchline.settings import Settings
from gateway.answers import batch_answer
from gateway.forms import BATCH
from gateway.idempotency import by_retry
from gateway.idempotency.by_key import HEADER, REPLAYED, Idempotency, read_key
from gateway.keys import BLOBS, SETTINGS, STORE, now
from gateway.new_batches.received import Asked, is_form, receive_form, receive_json

from .files import expiry_of, note_stored

Headers = Mapping[str, str]


async def create(request: web.Request) -> web.Response:
    """POST /v1/batches: checks the body, adds the batch and returns.

    The same request under the same Idempotency-Key gets the same batch in any status; so does a client that
    repeats the request by itself.
    """
    batch, headers = await create_once(request, _receive)
    return batch_answer(request, batch, headers=headers)


async def create_once(
    request: web.Request, receive: Callable[[web.Request], Awaitable[Asked]]
) -> tuple[Batch, Headers]:
    """Receive a create; return its batch, or that of an earlier attempt, and the headers that say which."""
    key = read_key(request.headers.getall(HEADER, ()))
    async with AsyncExitStack() as undo:
        asked = await receive(request)
        if asked.input is not None:
            undo.push_async_callback(request.app[BLOBS].delete, asked.input.key)
        return await made(request, asked, key, undo)


async def made(
    request: web.Request, asked: Asked, key: str | None, undo: AsyncExitStack
) -> tuple[Batch, Headers]:
    """Return the batch, new or made by an earlier attempt, and the headers that say which.

    `undo` is run where the batch is not added, and forgotten where it is.
    """
    if key is not None:
        idempotency = Idempotency(request.app[STORE], key, asked.body)
        return await _under_key(request, asked, idempotency, undo)
    resent = by_retry.read_resent(request, asked.body)
    if resent is not None:
        return await _resent(request, asked, resent, undo)
    batch = await _add(request, asked, await _new_batch(request, asked), undo)
    assert batch is not None, "there is no key that could be taken"
    return batch, {}


async def _receive(request: web.Request) -> Asked:
    read = partial(_read, request.app[SETTINGS])
    read_inline = partial(_read, request.app[SETTINGS], has_requests=True)
    if is_form(request):
        return await receive_form(request, read_inline=read_inline)
    return await receive_json(request, read=read, read_inline=read_inline)


def _read(settings: Settings, fields: JsonObject, *, has_requests: bool = False) -> BatchRequest:
    wanted = read_batch_request(
        fields,
        min_window_s=settings.min_completion_window_s,
        callbacks=callbacks_of(settings),
        has_requests=has_requests,
    )
    if wanted.appends and settings.one_model_per_batch and wanted.appends.default_model is None:
        raise Invalid(
            "Missing required parameter: 'model'. This server takes one model a batch "
            "(BATCHLINE_ONE_MODEL_PER_BATCH), so an open one says which.",
            param="model",
            code="missing_required_parameter",
        )
    return wanted


def callbacks_of(settings: Settings) -> Callbacks:
    """Say what this server can do for a batch that wants its end told."""
    return Callbacks(settings.webhook_secret is not None, settings.webhook_networks)


async def _under_key(
    request: web.Request, asked: Asked, idempotency: Idempotency, undo: AsyncExitStack
) -> tuple[Batch, Headers]:
    earlier = await idempotency.made(now=now(request))
    if earlier is not None:
        return earlier, REPLAYED
    new = await _new_batch(request, asked)
    batch = await _add(request, asked, new, undo, key=idempotency.use(new))
    if batch is not None:
        return batch, {}
    return await idempotency.winner(new.created_at), REPLAYED


async def _resent(
    request: web.Request, asked: Asked, resent: by_retry.Resent, undo: AsyncExitStack
) -> tuple[Batch, Headers]:
    async with request.app[by_retry.CREATING].alone(resent):
        earlier = await resent.made(request.app[STORE], now=now(request))
        if earlier is not None:
            return earlier, by_retry.REPLAYED
        new = await _new_batch(request, asked)
        batch = await _add(request, asked, new, undo, key=resent.use(new), replaces_key=True)
        assert batch is not None, "no other batch keeps the key"
        return batch, {}


async def _add(
    request: web.Request,
    asked: Asked,
    new: NewBatch,
    undo: AsyncExitStack,
    *,
    key: UsedKey | None = None,
    replaces_key: bool = False,
) -> Batch | None:
    """Add the batch, and the file that came with it; None, and nothing is left, if the key is taken."""
    file = _file(request, asked, new)
    # Whether the rows were written is not known after a cancellation: what they name must stay then.
    undo = undo.pop_all()
    try:
        batch = await request.app[STORE].add_batch(
            new, file=file, key=key, replaces_key=replaces_key
        )
    except StoreUnavailable:
        await undo.aclose()
        raise
    if batch is None:
        await undo.aclose()
    elif file is not None:
        note_stored(request, file)
    return batch


async def _new_batch(request: web.Request, asked: Asked) -> NewBatch:
    wanted = asked.wanted
    report = await request.app[STORE].fleet_report()
    check_offered(wanted.endpoint, report, now=now(request))
    if asked.input is not None:
        file_id, key = asked.input.file_id, asked.input.key
    elif wanted.appends is not None:
        file_id = new_file_id()  # of the file that its requests become in the end
        key = file_key(file_id)
    else:
        file = await _uploaded(request, wanted.input_file_id or "")
        file_id, key = file.id, file.blob_key
    created_at = now(request)
    return NewBatch(
        id=new_batch_id(),
        endpoint=wanted.endpoint,
        input_file_id=file_id,
        input_key=key,
        completion_window=wanted.completion_window,
        created_at=created_at,
        expires_at=created_at + wanted.window_s,
        metadata=wanted.metadata,
        output_expires_after_s=wanted.output_expires_after_s,
        on_failures=wanted.on_failures or request.app[SETTINGS].on_failures,
        callback_url=wanted.callback_url,
        model=asked.response_model,
        is_response=asked.is_response,
        on_faults=asked.on_faults,
        requests=asked.requests,
        appends=wanted.appends,
    )


def _file(request: web.Request, asked: Asked, new: NewBatch) -> File | None:
    """Return the row of the input that came with the batch."""
    if asked.input is None:
        return None
    return File(
        id=asked.input.file_id,
        bytes=asked.input.bytes,
        created_at=new.created_at,
        expires_at=expiry_of(request, BATCH, None, created_at=new.created_at),
        filename=asked.input.filename,
        purpose=RESPONSE_PURPOSE if asked.is_response else BATCH,
        blob_key=asked.input.key,
    )


async def _uploaded(request: web.Request, file_id: str) -> File:
    """Return the uploaded file that a batch names. Raises Invalid."""
    file = await request.app[STORE].get_file(file_id, now=now(request))
    if file is None:
        raise Invalid(
            f"Cannot find file {shown(file_id)}, or it has expired or was deleted.", param="file_id"
        )
    if file.purpose != BATCH:
        raise Invalid(
            f"Cannot use file {file_id}: its purpose is '{file.purpose}', but the input of a batch "
            f"must be uploaded with purpose '{BATCH}'.",
            param="file_id",
        )
    return file
