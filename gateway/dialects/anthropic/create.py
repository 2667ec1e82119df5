"""`POST /v1/messages/batches`: the requests become an input file, and file and batch rows in one transaction.

It goes the way of every create, repeated ones included (`gateway.routes.create_batch`).
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from batchline.api.bodies import DEFAULT_WINDOW, BatchRequest
from batchline.errors import RequestTooLarge
from batchline.states import OnFaults
from gateway.answers import json_answer
from gateway.keys import SETTINGS
from gateway.new_batches.received import NAME, Asked, rewritten, split
from gateway.routes.create_batch import create_once
from gateway.transfer.body import Body

from .errors import ROOT
from .message_requests import Bounds, MessageRequests
from .objects import message_batch

MOST_REQUESTS = 100_000
MOST_BYTES = 256 << 20
_WINDOW_S = 24 * 3600


async def create(request: web.Request) -> web.Response:
    """Check the requests one by one, add the batch and return."""
    batch, headers = await create_once(request, _receive)
    return json_answer(message_batch(batch), headers=headers)


async def _receive(request: web.Request) -> Asked:
    """Raises Invalid, RequestTooLarge, DiskFull, UnsupportedEncoding."""
    settings = request.app[SETTINGS]
    most = min(MOST_BYTES, settings.max_file_bytes)

    def too_large() -> Exception:
        return RequestTooLarge(f"The batch is too large. The limit is {most:,} bytes.")

    bounds = Bounds(
        requests=min(MOST_REQUESTS, settings.max_lines),
        request_bytes=settings.max_line_bytes - len(ROOT) - _ENVELOPE_BYTES,
        frame_bytes=request.client_max_size,
    )
    requests = MessageRequests(bounds, too_large=too_large)
    body = Body(request, max_bytes=most, too_large=too_large)
    async with split(request, body, requests) as written:
        fields = requests.fields()
        assert written is not None, "there are requests"
        await written.commit()
    made = written.made(NAME)
    if requests.needs_second_pass:
        made = await rewritten(request, made, requests.second_pass)
    # Another dialect's create is no equal one.
    body_of_equals = {"dialect": "anthropic", "fields": fields, "requests": made.digest}
    return Asked(
        _WANTED,
        msgspec.json.encode(body_of_equals),
        made,
        on_faults=OnFaults.FAIL_LINES,
        requests=requests.count,
    )


_ENVELOPE_BYTES = 64
"""What a line has more than the request that it was, at most."""
_WANTED = BatchRequest(
    input_file_id=None,
    endpoint=ROOT,
    completion_window=DEFAULT_WINDOW,
    window_s=_WINDOW_S,
    metadata=None,
    output_expires_after_s=None,
    on_failures=None,
    callback_url=None,
)
