"""`GET /v1/files/{id}/content`: raw bytes in constant memory, whole or one range (RFC 9110 §14)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from http import HTTPMethod, HTTPStatus
from urllib.parse import quote

from aiohttp import web

from batchline.errors import Invalid, NotFound, StoreUnavailable
from batchline.model import File
from gateway.answers import write
from gateway.keys import BLOBS
from gateway.transfer.ranges import Span, wanted_span
from gateway.transfer.simultaneous_downloads import DOWNLOADS, PIECE_BYTES

from .files import named_file

_NOT_DOWNLOADABLE = frozenset({"assistants", "user_data"})
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


async def download(request: web.Request) -> web.StreamResponse:
    """Stream the file; if its blob is cut short, the connection is cut too."""
    file = await named_file(request)
    if file.purpose in _NOT_DOWNLOADABLE:
        raise Invalid(f"Not allowed to download files of purpose: {file.purpose}")
    span = _wanted(request, file.bytes)
    response = web.StreamResponse(
        headers={
            "Content-Disposition": disposition(file.filename),
            "Accept-Ranges": "bytes",
        }
    )
    response.content_type = "application/octet-stream"
    if span is not None:
        response.set_status(HTTPStatus.PARTIAL_CONTENT)
        last = span.first + span.length - 1
        response.headers["Content-Range"] = f"bytes {span.first}-{last}/{file.bytes}"
    span = span or Span(0, file.bytes)
    response.content_length = span.length
    if request.method == HTTPMethod.HEAD:
        return response
    with request.app[DOWNLOADS].one():
        await _send(request, response, file, span)
    return response


async def _send(request: web.Request, response: web.StreamResponse, file: File, span: Span) -> None:
    chunks = request.app[BLOBS].stream(
        file.blob_key, offset=span.first, length=span.length, chunk_bytes=PIECE_BYTES
    )
    async with aclosing(chunks):
        first = await _first(chunks, file)  # missing bytes are an error answer, not a cut one
        sent = len(first)
        await response.prepare(request)
        await write(response, first)
        del first  # a client that takes no more keeps one piece in memory, not two
        async for chunk in chunks:
            sent += len(chunk)
            await write(response, chunk)
    if sent != span.length:
        raise StoreUnavailable(f"The stored file is cut short: {sent} of {span.length} bytes.")
    await response.write_eof()


async def _first(chunks: AsyncIterator[bytes], file: File) -> bytes:
    try:
        return await anext(chunks, b"")
    except NotFound as exc:  # its message names the blob, which clients must not see
        raise NotFound(f"The bytes of file {file.id} are gone.", param="id") from exc


def _wanted(request: web.Request, size_bytes: int) -> Span | None:
    # Without an ETag no If-Range can match: the whole is sent.
    header = request.headers.get("Range", "")
    if request.method != HTTPMethod.GET or "If-Range" in request.headers:
        return None
    return wanted_span(header, size_bytes)


def disposition(filename: str) -> str:
    """Name the download: quoted, with the exact name in UTF-8 beside it where ASCII cannot say it."""
    plain = _UNPRINTABLE.sub("_", filename)
    quoted = plain.replace("\\", "\\\\").replace('"', '\\"')
    exact = "" if plain == filename else f"; filename*=UTF-8''{quote(filename, safe='')}"
    return f'attachment; filename="{quoted}"{exact}'
