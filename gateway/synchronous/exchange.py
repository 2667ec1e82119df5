"""One request of a call, and the reply of a model server: read whole, and made JSON.

Bytes of the answer are taken from the call's share as they come. Cancelling it ends the request, also in the
engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from aiohttp import web

from batchline.errors import BackendFailed
from batchline.jsonl.upstream_answers import read_answer
from batchline.serving.retry_after import parse_retry_after
from gateway.keys import METRICS
from gateway.upstream.refusals import refusal
from gateway.upstream.session import BROKEN, fault, post

from .memory import Share
from .reading import Asked

_SHORT_BYTES = 1 << 16  # sent at once: pieces would cost a task each
_PIECE_BYTES = 1 << 18
_QUICK_BYTES = 1 << 18  # what is read in the event loop: more goes to a thread
_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_SHORTEST_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model server answered: `body` is JSON, of an error OpenAI's object."""

    status: int
    body: bytes
    retry_after: str | None


def wait_s(reply: Reply, *, now: float, left_s: float) -> float | None:
    """Return how long a busy server wants to be left alone, if that is within the time left. Pure.

    `now`: Unix seconds, for a Retry-After that is a date.
    """
    if reply.status not in _BUSY:
        return None
    wanted = parse_retry_after(reply.retry_after, now=now)
    if wanted is None:
        return None
    wanted = max(wanted, _SHORTEST_WAIT_S)
    return wanted if wanted < left_s else None


async def exchange(
    app: web.Application, asked: Asked, *, request_id: str, headers: Mapping[str, str], share: Share
) -> Reply:
    """Send one request, and read its answer.

    Raises NoBackend, NoDescriptors, BackendFailed, BackendSilent; TooLarge, Unavailable: no room for it.
    """
    in_flight = app[METRICS].interactive_in_flight.labels(asked.path)
    began = time.perf_counter()
    in_flight.inc()
    try:
        async with await post(
            app,
            asked.path,
            asked.body if len(asked.body) <= _SHORT_BYTES else _pieces(asked.body),
            size_bytes=len(asked.body),
            request_id=request_id,
            headers=headers,
        ) as answer:
            first_byte = app[METRICS].interactive_first_byte_seconds.labels(asked.path)
            first_byte.observe(time.perf_counter() - began)
            is_refusal = answer.status >= HTTPStatus.MULTIPLE_CHOICES
            body = await refusal(answer) if is_refusal else await _whole(answer, share)
            return Reply(answer.status, body, answer.headers.get("Retry-After"))
    finally:
        in_flight.dec()


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _PIECE_BYTES):
        yield body[start : start + _PIECE_BYTES]


async def _whole(answer: aiohttp.ClientResponse, share: Share) -> bytes:
    chunks: list[bytes] = []
    taken = 0
    try:
        async for chunk in answer.content.iter_any():
            share.take(len(chunk))
            taken += len(chunk)
            chunks.append(chunk)
        body = b"".join(chunks)
        if taken <= _QUICK_BYTES:
            read = read_answer(body)
        else:
            read = await asyncio.to_thread(read_answer, body)
    except BROKEN as exc:
        raise fault(exc) from exc
    finally:
        share.give(taken)
    if read is None:
        raise BackendFailed("The model server's answer is not JSON. Send the request again.")
    return read.text
