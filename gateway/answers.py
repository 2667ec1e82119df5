"""Builds and sends good answers. Errors are raised, and `errors.py` builds their answers."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from aiohttp import web

from batchline.api.objects.batch import batch_object
from batchline.api.objects.batch_extensions import extended
from batchline.api.objects.encoding import encode
from batchline.model import Batch, FleetReport
from gateway.keys import CLOCK, SETTINGS
from gateway.transfer.simultaneous_downloads import PIECE_BYTES

_ASKED = {"extensions=on": True, "extensions=off": False}


def json_answer(shape: msgspec.Struct, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer 200 with one of the shapes of `wire`."""
    return web.Response(body=encode(shape), content_type="application/json", headers=headers)


def batch_answer(
    request: web.Request,
    batch: Batch,
    *,
    report: FleetReport | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Answer 200 with one batch, and its extensions where they are wanted; `report` as `batch_object`."""
    plain = batch_object(batch, report)
    if not _wants_extensions(request):
        return json_answer(plain, headers=headers)
    return json_answer(extended(plain, batch, now=request.app[CLOCK].now()), headers=headers)


def _wants_extensions(request: web.Request) -> bool:
    """Read `Accept: application/json; extensions=off` (or `on`); else the setting decides."""
    for value in request.headers.getall("Accept", ()):
        for parameter in value.lower().replace(",", ";").split(";"):
            if parameter.strip() in _ASKED:
                return _ASKED[parameter.strip()]
    return request.app[SETTINGS].extensions


async def write(response: web.StreamResponse, chunk: bytes) -> None:
    """Send a part of an answer, piece by piece as the client takes it.

    Raises ConnectionError if the client has gone; the connection ends one that takes too little.
    """
    if len(chunk) <= PIECE_BYTES:
        await response.write(chunk)
        return
    whole = memoryview(chunk)
    for start in range(0, len(chunk), PIECE_BYTES):
        await response.write(whole[start : start + PIECE_BYTES])
