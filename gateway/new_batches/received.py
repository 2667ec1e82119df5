"""A create as it is received: as JSON, with or without requests in it, or as a form with a file.

Requests that come with it become the bytes of an input file, in constant memory. What the lines lack is
filled in as they are written where it is known by then, and else in a second pass over the stored bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec
from aiohttp import web

from batchline.api.bodies import BatchRequest, batch_form_fields
from batchline.api.parameters import JsonObject
from batchline.states import OnFaults
from gateway.forms import BATCH, receive, refuse_unreadable
from gateway.keys import BLOBS, SETTINGS
from gateway.transfer.body import Body
from gateway.transfer.disk_space import disk_space_of

from .inherited_fields import DEFAULT_ENDPOINT, Inheritance, known_of
from .inline import InlineRequests
from .input_writer import InputWriter, NewInput, new_input, written_again
from .stored_lines import Fill, StoredLines, lines_of_file, requests_of_json

SECOND_PASSES = web.AppKey("second_passes", asyncio.Semaphore)
MOST_SECOND_PASSES = 4
"""Each holds one line at a time, which may be long."""

_FORM = "multipart/form-data"
NAME = "requests.jsonl"
"""Of an input that came in JSON."""
_QUICK_BYTES = 1 << 14  # what is read in the event loop: more goes to a thread
_FIELD_BYTES = 1 << 16  # of a form's text: the metadata, all escaped

Read = Callable[[JsonObject], BatchRequest]


class Splits(Protocol):
    """What cuts a JSON body into its requests, as lines, and the rest."""

    @property
    def are_there(self) -> bool:
        """Whether the body holds an array of requests, as far as it was read."""

    def feed(self, chunk: bytes) -> bytes:
        """Return the lines that `chunk` completes, and parts of a long one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A create, received and checked. `body` is JSON that is equal for equal creates."""

    wanted: BatchRequest
    body: bytes
    input: NewInput | None = None
    on_faults: OnFaults = OnFaults.FAIL_BATCH
    requests: int | None = None
    """How many came with it, where they were counted."""
    response_model: str | None = None
    """What a response in the background asks; None: it is a batch that clients see as one."""

    @property
    def is_response(self) -> bool:
        """Whether it is a response in the background."""
        return self.response_model is not None


def is_form(request: web.Request) -> bool:
    """Whether the create comes as a form."""
    return request.content_type == _FORM


async def receive_json(request: web.Request, *, read: Read, read_inline: Read) -> Asked:
    """Receive JSON; `read` checks its fields, `read_inline` those of one with requests in it.

    Raises Invalid, TooLarge, DiskFull, UnsupportedEncoding, HTTPRequestEntityTooLarge.
    """
    limit, most = request.client_max_size, request.app[SETTINGS].max_file_bytes
    inline = InlineRequests(
        frame_bytes=limit,
        too_large=lambda: _too_large(limit, f"The limit is {limit} bytes, beside its requests."),
    )
    body = Body(
        request,
        max_bytes=most + limit,
        too_large=lambda: _too_large(
            most + limit, f"The limit is {most + limit} bytes (BATCHLINE_MAX_FILE_BYTES)."
        ),
    )
    async with split(request, body, inline) as written:
        fields = inline.fields()
        if written is None:
            return Asked(read(fields), inline.frame)
        fields = {"endpoint": inline.first_url() or DEFAULT_ENDPOINT} | fields
        wanted = read_inline(fields)
        await written.commit()
    made = written.made(NAME)
    known = known_of(fields)
    if inline.needs_second_pass(known):
        made = await rewritten(request, made, requests_of_json(Inheritance(known)))
    return _asked(wanted, fields, made)


@asynccontextmanager
async def split(
    request: web.Request, body: Body, requests: Splits
) -> AsyncIterator[InputWriter | None]:
    """Read the body to its end; yield the input that its requests became, None where it has none.

    That is deleted at the end unless `commit` was reached.
    """
    async with AsyncExitStack() as stack:
        written: InputWriter | None = None
        async for chunk in body:
            is_quick = len(chunk) <= _QUICK_BYTES
            feed = requests.feed
            lines = feed(chunk) if is_quick else await asyncio.to_thread(feed, chunk)
            if written is None and requests.are_there:
                most = request.app[SETTINGS].max_file_bytes
                disk_space_of(request).need(min(request.content_length or 0, most))
                written = await stack.enter_async_context(new_input(request))
            if written is not None:
                await written.put(lines)
        yield written


def _too_large(most: int, text: str) -> Exception:
    return web.HTTPRequestEntityTooLarge(most, text=text)


async def receive_form(request: web.Request, *, read_inline: Read) -> Asked:
    """Receive a form with the part `file`. Raises as `receive_json` does."""
    most = request.app[SETTINGS].max_file_bytes
    disk_space_of(request).need(min(request.content_length or 0, most))
    async with new_input(request) as written:
        form = await receive(
            request,
            written.sink,
            part="file",
            by_name=True,
            purpose=BATCH,
            field_bytes=_FIELD_BYTES,
        )
        refuse_unreadable(BATCH, written.sink)
        fields = batch_form_fields(form.fields)
        wanted = read_inline({"endpoint": DEFAULT_ENDPOINT} | fields)
        await written.commit()
    inheritance = Inheritance(known_of(fields), takes_first_url=True)
    made = await rewritten(request, written.made(form.filename), lines_of_file(inheritance))
    endpoint = inheritance.endpoint or DEFAULT_ENDPOINT
    return _asked(replace(wanted, endpoint=endpoint), fields | {"endpoint": endpoint}, made)


async def rewritten(request: web.Request, made: NewInput, fill: Fill) -> NewInput:
    """Read the stored lines again and replace them by filled ones; after an error neither is left."""
    lines = StoredLines(fill, line_bytes=request.app[SETTINGS].max_line_bytes)
    blobs = request.app[BLOBS]
    try:
        async with (
            request.app[SECOND_PASSES],
            written_again(request, made.file_id) as written,
        ):
            async for chunk in blobs.stream(made.key):
                await written.put(await asyncio.to_thread(lines.feed, chunk))
            await written.put(lines.finish())
            await written.commit()
    except BaseException:
        await blobs.delete(made.key)
        raise
    return written.made(made.filename)


def _asked(wanted: BatchRequest, fields: JsonObject, made: NewInput) -> Asked:
    """Put the digest of the lines in their place."""
    return Asked(wanted, msgspec.json.encode(fields | {"requests": made.digest}), made)
