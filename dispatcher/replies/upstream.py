"""One request to the upstream, one reply: the only place that sends lines over the network.

Posts raw body bytes and reports what came back, or how it broke. Judges nothing (that is `verdict`).
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
from yarl import URL

from batchline.config.server_url import server_name
from batchline.process.descriptors import Alarm, are_out

from .long_request_body import payload

BACKEND_HEADER = "X-Batchline-Backend"
"""Tells our nginx which backend shall get a line."""
JSON = "application/json"
NGINX_GROUP = "batchline_backends"
"""The name of nginx's upstream group: it stands in X-Upstream when no server could be tried."""

_KEEPALIVE_S = 4.0  # below the 5 s after which uvicorn closes idle connections
_CONNECT_S = 10.0
_MAX_ANSWER_BYTES = 256 << 20


class Break(StrEnum):
    """How a request ended without a whole answer."""

    CONNECT = "connect"
    RESET = "reset"
    TRUNCATED = "truncated"
    TIMEOUT = "timeout"
    OUT_OF_TIME = "out_of_time"
    """Not answered within less time than usual, which was all that was left."""
    TOO_LARGE = "too_large"
    NO_DESCRIPTORS = "no_descriptors"
    """Not sent: this process could open no connection, to nobody."""
    HUNG = "hung"
    """Given up, because the backend hangs (`flight` says so, not the network)."""


class Reply(msgspec.Struct, frozen=True):
    """A whole HTTP answer."""

    status: int
    body: bytes
    request_id: str
    retry_after: str | None
    backends: tuple[str, ...]
    """Every backend that nginx tried, the last one answered. Empty without nginx."""
    seconds: float
    backend: str | None = None
    """Who answered: the backend that was asked for, or None where that is not certain."""
    location: str | None = None
    """Where it redirects to."""


@dataclass(frozen=True, slots=True)
class Broken:
    """No whole answer: the request may or may not have run."""

    how: Break
    detail: str
    seconds: float
    backend: str | None = None
    """Who broke off; None where it was the way there (nginx went away) or is not certain."""


class Upstream:
    """The long-lived session to nginx (or any OpenAI-compatible server)."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None,
        timeout_s: float,
        max_answer_bytes: int = _MAX_ANSWER_BYTES,
        alarm: Alarm | None = None,
    ) -> None:
        """Begin without a session. `alarm` sounds when no file descriptor is left."""
        self._alarm = alarm or Alarm()
        self._max_answer_bytes = max_answer_bytes
        self._url = url
        self._name = server_name(url)
        self._api_key = api_key
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=_CONNECT_S)
        self._paths: dict[str, URL] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"Accept-Encoding": "identity"}
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            timeout=self._timeout,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(
        self,
        path: str,
        body: bytes | bytearray,
        *,
        request_id: str,
        backend: str | None = None,
        within_s: float = math.inf,
        content_type: str = JSON,
    ) -> Reply | Broken:
        """Post `body` to `path` and read the whole answer. Cancelling it aborts the request.

        `backend`: the one behind nginx that shall get it, as host:port; None leaves the choice to nginx.
        `within_s`: less time than usual, where less is left.
        """
        assert self._session is not None, "use it as `async with`"
        url = self._paths.get(path) or self._paths.setdefault(path, URL(self._url + path))
        given = {"X-Request-Id": request_id}
        if backend is not None:
            given[BACKEND_HEADER] = backend
        # Until it is known to have reached the backend, a loss is nginx's.
        who = self._name if backend is None else None
        timeout = self._timeout_of(within_s)
        started = time.monotonic()
        try:
            async with self._session.post(
                url,
                data=payload(body, content_type=content_type),
                headers=given,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                tried = _tried(response)
                if backend is not None and tried == (backend,):
                    who = backend
                answer = await self._read(response)
                seconds = time.monotonic() - started
                if answer is None:
                    return Broken(Break.TOO_LARGE, "answer too large", seconds, who)
                return _reply(
                    response, answer, tried, request_id=request_id, seconds=seconds, who=who
                )
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as exc:
            how = _how(exc)
            if how is Break.NO_DESCRIPTORS:
                self._alarm.sound()
            if how is Break.TIMEOUT:
                who = backend or self._name
                how = how if timeout is self._timeout else Break.OUT_OF_TIME
            return Broken(how, type(exc).__name__, time.monotonic() - started, who)

    def _timeout_of(self, within_s: float) -> aiohttp.ClientTimeout:
        usual = self._timeout
        if usual.total is None or within_s >= usual.total:
            return usual
        return aiohttp.ClientTimeout(total=within_s, sock_connect=usual.sock_connect)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        """Read the whole answer; None where it is too large, whether it says so or not."""
        if response.content_length is not None:
            fits = response.content_length <= self._max_answer_bytes
            return await response.read() if fits else None
        answer = bytearray()
        async for chunk in response.content.iter_any():
            answer += chunk
            if len(answer) > self._max_answer_bytes:
                return None
        return bytes(answer)


def _tried(response: aiohttp.ClientResponse) -> tuple[str, ...]:
    """Return every backend that nginx tried."""
    named = response.headers.get("X-Upstream", "").replace(" ", "")
    return tuple(named.split(",")) if named else ()


def _reply(
    response: aiohttp.ClientResponse,
    answer: bytes,
    tried: tuple[str, ...],
    *,
    request_id: str,
    seconds: float,
    who: str | None,
) -> Reply:
    headers = response.headers
    return Reply(
        status=response.status,
        body=answer,
        request_id=headers.get("X-Request-Id", request_id),
        retry_after=headers.get("Retry-After"),
        backends=tried,
        seconds=seconds,
        backend=who,
        location=headers.get("Location"),
    )


def _how(exc: BaseException) -> Break:
    match exc:
        case OSError() if are_out(exc):
            return Break.NO_DESCRIPTORS
        case aiohttp.ConnectionTimeoutError() | aiohttp.ClientConnectorError():
            return Break.CONNECT
        case TimeoutError():
            return Break.TIMEOUT
        case aiohttp.ClientPayloadError() | asyncio.IncompleteReadError():
            return Break.TRUNCATED
        case _:
            return Break.RESET
