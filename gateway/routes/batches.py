"""`/v1/batches`: create, list, show, cancel. The dispatcher runs the batches."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from batchline.api.bodies import BatchRequest, read_batch_request
from batchline.api.callback import Callbacks
from batchline.api.objects.batch import batch_object
from batchline.api.objects.lists import batch_list
from batchline.api.parameters import shown
from batchline.errors import Conflict, Invalid, NotFound
from batchline.failing import is_failing
from batchline.model import Batch, File, FleetReport, NewBatch, new_batch_id
from batchline.settings import Settings
from batchline.states import BatchStatus
from gateway.answers import json_answer
from gateway.forms import BATCH
from gateway.idempotency import by_retry
from gateway.idempotency.by_key import HEADER, REPLAYED, Idempotency, read_key
from gateway.keys import SETTINGS, STORE, now
from gateway.paging import BATCHES, page_query, status_query
from gateway.transfer.body import read_body

_TOO_LATE = frozenset({BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED})
"""Final statuses in which a cancel is an error; `cancelled` is none of them."""


async def create(request: web.Request) -> web.Response:
    """POST /v1/batches: checks the body, adds the batch and returns; lines are read later.

    The same request under the same Idempotency-Key gets the same batch in any status; so does a client that
    repeats the request by itself.
    """
    body = await read_body(request)
    wanted = _read(body, request.app[SETTINGS])
    key = read_key(request.headers.getall(HEADER, ()))
    if key is not None:
        return await _create_under_key(request, wanted, Idempotency(request.app[STORE], key, body))
    resent = by_retry.read_resent(request, body)
    if resent is not None:
        return await _create_resent(request, wanted, resent)
    batch = await request.app[STORE].add_batch(await _new_batch(request, wanted))
    assert batch is not None, "there is no key that could be taken"
    return json_answer(batch_object(batch))


def _read(body: bytes, settings: Settings) -> BatchRequest:
    return read_batch_request(
        body, min_window_s=settings.min_completion_window_s, callbacks=callbacks_of(settings)
    )


def callbacks_of(settings: Settings) -> Callbacks:
    """Say what this server can do for a batch that wants its end told."""
    return Callbacks(settings.webhook_secret is not None, settings.webhook_networks)


async def _create_under_key(
    request: web.Request, wanted: BatchRequest, idempotency: Idempotency
) -> web.Response:
    earlier = await idempotency.made(now=now(request))
    if earlier is not None:
        return json_answer(batch_object(earlier), headers=REPLAYED)
    new = await _new_batch(request, wanted)
    batch = await idempotency.make(new)
    return json_answer(batch_object(batch), headers={} if batch.id == new.id else REPLAYED)


async def _create_resent(
    request: web.Request, wanted: BatchRequest, resent: by_retry.Resent
) -> web.Response:
    store = request.app[STORE]
    async with request.app[by_retry.CREATING].alone(resent):
        earlier = await resent.made(store, now=now(request))
        if earlier is not None:
            return json_answer(batch_object(earlier), headers=by_retry.REPLAYED)
        new = await _new_batch(request, wanted)
        batch = await store.add_batch(new, key=resent.use(new), replaces_key=True)
        assert batch is not None, "no other batch keeps the key"
        return json_answer(batch_object(batch))


async def _new_batch(request: web.Request, wanted: BatchRequest) -> NewBatch:
    file = await _input_file(request, wanted.input_file_id)
    created_at = now(request)
    return NewBatch(
        id=new_batch_id(),
        endpoint=wanted.endpoint,
        input_file_id=file.id,
        input_key=file.blob_key,
        completion_window=wanted.completion_window,
        created_at=created_at,
        expires_at=created_at + wanted.window_s,
        metadata=wanted.metadata,
        output_expires_after_s=wanted.output_expires_after_s,
        on_failures=wanted.on_failures or request.app[SETTINGS].on_failures,
        callback_url=wanted.callback_url,
    )


async def _input_file(request: web.Request, file_id: str) -> File:
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


async def index(request: web.Request) -> web.Response:
    """GET /v1/batches, newest first; with `status`, of those only."""
    query = page_query(request.query, BATCHES)
    page = await request.app[STORE].list_batches(
        after=query.after, limit=query.limit, statuses=status_query(request.query)
    )
    if page is None:
        raise NotFound(f"No batch found with id '{shown(query.after)}'.", param="after")
    return json_answer(batch_list(page, await _report_on(request, page.items)))


async def show(request: web.Request) -> web.Response:
    """GET /v1/batches/{id}."""
    batch = await named_batch(request)
    return json_answer(batch_object(batch, await _report_on(request, [batch])))


async def _report_on(request: web.Request, batches: Iterable[Batch]) -> FleetReport | None:
    """Read the last report if it concerns one of these batches."""
    return await request.app[STORE].fleet_report() if any(map(is_failing, batches)) else None


async def named_batch(request: web.Request) -> Batch:
    """Return the batch that the path names. Raises NotFound."""
    batch_id = request.match_info["batch_id"]
    batch = await request.app[STORE].get_batch(batch_id)
    if batch is None:
        raise no_such(batch_id)
    return batch


async def cancel(request: web.Request) -> web.Response:
    """POST /v1/batches/{id}/cancel: takes no body, whatever its content type says."""
    batch_id = request.match_info["batch_id"]
    batch = await request.app[STORE].cancel_batch(batch_id, now=now(request))
    if batch is None:
        raise no_such(batch_id)
    if batch.status in _TOO_LATE:
        raise Conflict(f"Cannot cancel a batch with status '{batch.status.value}'.")
    return json_answer(batch_object(batch))


def no_such(batch_id: str) -> NotFound:
    """Say that there is no such batch."""
    return NotFound(f"No batch found with id '{shown(batch_id)}'.")
