"""`GET /openapi.json`: the document as bytes, which clients may cache by its ETag."""

from __future__ import annotations

import json
from functools import cached_property
from hashlib import blake2b
from http import HTTPMethod, HTTPStatus

from aiohttp import ETag, web

from batchline.settings import Settings
from gateway.answers import write

from .document import Tree, openapi_document

_KEEP = {"Cache-Control": "no-cache"}  # may be cached, but must be revalidated each time


class Document:
    """The document of one server, built on first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def tree(self) -> Tree:
        """The document as Python's dicts and lists; not to be changed."""
        return openapi_document(self._settings)

    @cached_property
    def body(self) -> bytes:
        """The document as JSON."""
        return json.dumps(self.tree, ensure_ascii=False, separators=(",", ":")).encode()

    @cached_property
    def etag(self) -> str:
        """A short digest of the JSON."""
        return blake2b(self.body, digest_size=8).hexdigest()


DOCUMENT = web.AppKey("document", Document)


async def show(request: web.Request) -> web.StreamResponse:
    """GET /openapi.json, piece by piece: whoever reads nothing of it keeps one piece in memory."""
    document = request.app[DOCUMENT]
    if ETag(document.etag) in (request.if_none_match or ()):
        unchanged = web.Response(status=HTTPStatus.NOT_MODIFIED, headers=_KEEP)
        unchanged.etag = document.etag
        return unchanged
    response = web.StreamResponse(headers=_KEEP)
    response.content_type = "application/json"
    response.content_length = len(document.body)
    response.etag = document.etag
    await response.prepare(request)
    if request.method != HTTPMethod.HEAD:
        await write(response, document.body)
    await response.write_eof()
    return response
