"""The one session to the upstream, and a request through it.

Bounds every wait, chooses the headers and translates what aiohttp raises. Retries nothing: nginx sends a
request once more (docs/decisions/007-interactive-requests.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import aiohttp
from aiohttp import web
from yarl import URL

from batchline.errors import (
    BackendFailed,
    BackendSilent,
    BatchlineError,
    NoBackend,
    NoDescriptors,
)
from batchline.process.descriptors import are_out
from gateway.keys import PATIENCE, SETTINGS

SESSION = web.AppKey("session", aiohttp.ClientSession)
BROKEN = (aiohttp.ClientError, OSError)
"""What the session raises; `fault` says what it means."""

_CONNECT_S = 10.0
_KEEPALIVE_S = 4.0  # below the 5 s after which uvicorn closes idle connections
_ONWARD = ("Accept", "Content-Type", "User-Agent", "Traceparent", "Tracestate", "Baggage")


async def upstream_session(app: web.Application) -> AsyncIterator[None]:
    """Hold the one session to the upstream while the application runs."""
    settings = app[SETTINGS]
    headers = {"Accept-Encoding": "identity"}
    if settings.upstream_api_key:
        headers["Authorization"] = f"Bearer {settings.upstream_api_key}"
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_S, sock_read=settings.request_timeout_s
        ),
        trust_env=False,
        auto_decompress=False,
    ) as session:
        app[SESSION] = session
        yield


def onward(headers: Mapping[str, str]) -> dict[str, str]:
    """Choose the headers that go on: without our API key and headers of the connection."""
    return {name: headers[name] for name in _ONWARD if name in headers}


async def post(
    app: web.Application,
    path: str,
    body: bytes | AsyncIterator[bytes],
    *,
    size_bytes: int,
    request_id: str,
    headers: Mapping[str, str],
) -> aiohttp.ClientResponse:
    """Send a body of so many bytes; the caller closes the answer. Cancelling it ends the request.

    A body that comes in pieces must be taken piece by piece in time; short ones need no pieces.
    Raises NoBackend, NoDescriptors, BackendFailed, BackendSilent.
    """
    own = {"X-Request-Id": request_id, "Content-Length": str(size_bytes)}
    stall_s = app[PATIENCE].stall_s
    try:
        async with asyncio.timeout(None) as writing:
            return await app[SESSION].post(
                URL(app[SETTINGS].upstream_url + path),
                data=body if isinstance(body, bytes) else _paced(body, writing, stall_s),
                headers={**headers, **own},
                allow_redirects=False,
            )
    except BROKEN as exc:
        raise fault(exc) from exc


async def _paced(
    pieces: AsyncIterator[bytes], writing: asyncio.Timeout, stall_s: float
) -> AsyncIterator[bytes]:
    """Yield the pieces; `writing` runs out if one is not taken within `stall_s`."""
    loop = asyncio.get_running_loop()
    async for piece in pieces:
        writing.reschedule(loop.time() + stall_s)
        yield piece
        writing.reschedule(None)


def fault(exc: BaseException) -> BatchlineError:
    """Say what an error of the session means."""
    match exc:
        case OSError() if are_out(exc):
            return NoDescriptors(
                "The gateway has run out of file descriptors and could not ask a model server. Try "
                "again later; the operator raises its limit of open files (ulimit -n)."
            )
        case aiohttp.ConnectionTimeoutError() | aiohttp.ClientConnectorError():
            return NoBackend(
                "No model server accepts connections at present. Try again later; the operator "
                "finds the reason at /ready."
            )
        case TimeoutError():
            return BackendSilent("The model server said nothing for too long. Ask for less.")
        case _:
            return BackendFailed(
                "The model server broke off before it answered. Send the request again."
            )
