"""`POST /batch`: takes a call in, lets it be answered, and writes the answer."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from functools import partial
from mmap import mmap

from aiohttp import web

from batchline.jsonl.body_rules import BodyRules
from batchline.serving.request_log import REQUESTS
from gateway.answer_headers import request_id
from gateway.answers import write
from gateway.connections.connection import Connection
from gateway.keys import METRICS, SETTINGS, STORE
from gateway.transfer.disk_space import disk_space_of
from gateway.transfer.interactive_body import receive
from gateway.transfer.spooled_body import HeldBody
from gateway.upstream.session import onward

from .calls import SHARED, Call, Context
from .reading import Asked, Refused, read, with_model
from .requests import split
from .responses import Outcome, Response, pieces, size_bytes

_OVERHEAD_BYTES = 4096  # measured: 3,000 that a waiting request takes, its own few included
_OWN_HEADERS = ("Accept", "Content-Type")  # of the call: those of its requests are ours

log = logging.getLogger(REQUESTS)


async def create(request: web.Request) -> web.StreamResponse:
    """Answer all requests of a call; if the client leaves, they end at once.

    Raises RequestTooLarge, Invalid, TooLarge, DiskFull, StoreUnavailable; Unavailable: other calls hold all
    memory. What is wrong with one request is told in its place.
    """
    connection = request.protocol
    assert isinstance(connection, Connection)
    settings = request.app[SETTINGS]
    reading = partial(_read, settings.sync_max_requests, settings.body_rules)
    async with (
        HeldBody(settings.data_dir, disk_space=disk_space_of(request)) as body,
        connection.while_present(),
    ):
        await receive(request, body)
        with request.app[SHARED].memory.share() as share:
            share.take(body.size_bytes)
            read_ones = await body.look(reading)
            share.take(len(read_ones) * _OVERHEAD_BYTES)
            requests = await _named(request, read_ones)
            context = Context(request.app, share, request_id(request), _headers(request))
            responses = await Call(context).responses(requests)
            _tell(request, responses)
            return await _answer(request, responses)


def _read(most: int, rules: BodyRules, body: bytes | mmap) -> list[Asked | Refused]:
    return [read(text, rules) for text in split(body, most=most)]


async def _named(
    request: web.Request, requests: Sequence[Asked | Refused]
) -> Sequence[Asked | Refused]:
    """Fill in the served model where requests name none."""
    if not any(isinstance(one, Asked) and one.lacks_model for one in requests):
        return requests
    report = await request.app[STORE].fleet_report()
    served = report.models if report else []
    return [
        with_model(one, served) if isinstance(one, Asked) and one.lacks_model else one
        for one in requests
    ]


def _headers(request: web.Request) -> dict[str, str]:
    passed = onward(request.headers)
    return passed | dict.fromkeys(_OWN_HEADERS, "application/json")


def _tell(request: web.Request, responses: Sequence[Response]) -> None:
    outcomes = Counter(response.outcome for response in responses)
    for outcome, count in outcomes.items():
        request.app[METRICS].sync_requests.labels(outcome).inc(count)
    unanswered = {kind: outcomes[kind] for kind in (Outcome.FAILED, Outcome.TIMEOUT)}
    if any(unanswered.values()):
        told = ", ".join(f"{count} {kind}" for kind, count in unanswered.items())
        log.warning("%s: POST /batch of %d: %s", request_id(request), len(responses), told)


async def _answer(request: web.Request, responses: Sequence[Response]) -> web.StreamResponse:
    answer = web.StreamResponse()
    answer.content_type = "application/json"
    answer.content_length = size_bytes(responses)
    await answer.prepare(request)
    for piece in pieces(responses):
        await write(answer, piece)
    await answer.write_eof()
    return answer
