"""Asks a local server once, for a bounded time, whether a path answers 200 and which process answers."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus

import httpx

from batchline.serving.identity import Part, is_process
from batchline.serving.listening import shown_address

_TIMEOUT_S = 5.0  # a CPU server answers late while it generates
_MOST_BYTES = 64 * 1024
_AS_IT_IS = {"Accept-Encoding": "identity"}


async def is_healthy(
    host: str,
    port: int,
    path: str,
    *,
    part: Part | None = None,
    pid: int = 0,
    timeout_s: float = _TIMEOUT_S,
) -> bool:
    """Return whether `GET path` answers 200 within `timeout_s`; where `part` is given, from process `pid`."""
    url = f"http://{shown_address(host, port)}{path}"
    # Loading certificates for TLS, which is not used here, would take 80 ms of work each time (measured).
    client = httpx.AsyncClient(verify=False, trust_env=False, timeout=timeout_s)  # noqa: S501
    try:
        async with (
            asyncio.timeout(timeout_s),
            client,
            client.stream("GET", url, headers=_AS_IT_IS) as answer,
        ):
            if answer.status_code != HTTPStatus.OK:
                return False
            return part is None or is_process(part, json.loads(await _beginning(answer)), pid=pid)
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, RecursionError):
        return False


async def _beginning(answer: httpx.Response) -> bytes:
    """Return the body, of a long one about the first 64 KiB."""
    body = bytearray()
    async for piece in answer.aiter_raw():
        body += piece
        if len(body) >= _MOST_BYTES:
            break
    return bytes(body)
