"""One file over HTTP, from a host that the operator named: bounded in size, time and redirects.

Each address is judged where it is connected to, and so is each redirect. Tells no path and no query of a URL:
they may hold secrets.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import urljoin, urlsplit

import httpcore

from batchline import __version__
from batchline.outbound.connection import (
    FAILURES,
    LookUp,
    Names,
    Refused,
    judged_pool,
    look_up,
    secure_context,
)
from batchline.outbound.media_urls import MediaRules, is_data_url
from batchline.process.descriptors import are_out

TIMEOUT_S = 120.0
_SILENCE_S = 20.0
_CONNECT_S = 10.0
_AT_ONCE = 64
_MOST_REDIRECTS = 3
_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_SERVER_ERRORS = 500
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WORDS: dict[int, str] = {
    HTTPStatus.NOT_FOUND: "the file is not there (404)",
    HTTPStatus.UNAUTHORIZED: "its host wants a login (401); use a signed URL",
    HTTPStatus.FORBIDDEN: "its host refuses it (403); has a signed URL expired?",
}


class Unfetched(Exception):
    """Why there is no file, as the end of a sentence. `is_final`: trying again would not help."""

    def __init__(self, why: str, *, is_final: bool) -> None:
        super().__init__(why)
        self.is_final = is_final


class OutOfDescriptors(Exception):
    """This process can open no connection, to nobody."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that begins to arrive."""

    path: str
    """Of its URL, after redirects."""
    media_type: str
    size_bytes: int | None
    """As its host says; None: it does not."""
    chunks: AsyncIterator[bytes]


class Fetcher:
    """The connections to hosts of media; use it as `async with`."""

    def __init__(
        self, rules: MediaRules, *, look_up: LookUp = look_up, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._rules = rules
        self._timeout_s = timeout_s
        self._names = Names(look_up, at_once=_AT_ONCE)
        self._pool = judged_pool(
            rules.refusal_of,
            self._names,
            connect_s=_CONNECT_S,
            at_once=_AT_ONCE,
            context=secure_context(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._pool.aclose()
        self._names.close()

    @asynccontextmanager
    async def open(self, url: str, *, within_s: float) -> AsyncIterator[Source]:
        """Ask for a file; its bytes come in the context, which ends it all after `within_s`.

        Raises Unfetched, OutOfDescriptors: also from the chunks, and from the body of the context.
        """
        limit_s = min(self._timeout_s, within_s)
        try:
            async with asyncio.timeout(limit_s), self._followed(url, limit_s) as (at, answer):
                yield _source(at, answer)
        except TimeoutError as exc:
            why = f"it did not arrive within {limit_s:.0f} s"
            raise Unfetched(why, is_final=False) from exc
        except Refused as exc:
            raise Unfetched(str(exc).rstrip("."), is_final=True) from exc
        except FAILURES as exc:
            if are_out(exc):
                raise OutOfDescriptors from exc
            raise Unfetched(f"its host broke off ({type(exc).__name__})", is_final=False) from exc

    @asynccontextmanager
    async def _followed(
        self, url: str, limit_s: float
    ) -> AsyncIterator[tuple[str, httpcore.Response]]:
        """Follow redirects to where a file is; each place has to be allowed."""
        for _ in range(_MOST_REDIRECTS + 1):
            if flaw := self._rules.flaw_of(url):
                raise Unfetched(flaw.rstrip("."), is_final=True)
            if is_data_url(url):
                raise Unfetched("its host redirects to a data URL", is_final=True)
            async with self._get(url, limit_s) as answer:
                if answer.status not in _REDIRECTS:
                    _check(answer.status)
                    yield url, answer
                    return
                url = _redirected(url, _header(answer, b"location"))
        raise Unfetched(f"its host redirects more than {_MOST_REDIRECTS} times", is_final=True)

    @asynccontextmanager
    async def _get(self, url: str, limit_s: float) -> AsyncIterator[httpcore.Response]:
        parts = urlsplit(url)
        target = httpcore.URL(
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=parts.port,
            target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        )
        headers = {
            "Host": parts.netloc,
            "User-Agent": f"batchline/{__version__}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
        }
        silence_s = min(_SILENCE_S, limit_s)
        timeouts = {
            "connect": _CONNECT_S,
            "read": silence_s,
            "write": silence_s,
            "pool": limit_s,
        }
        async with self._pool.stream(
            "GET", target, headers=list(headers.items()), extensions={"timeout": timeouts}
        ) as answer:
            yield answer


def _redirected(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as exc:
        raise Unfetched("its host redirects to what is no URL", is_final=True) from exc


def _check(status: int) -> None:
    if status == HTTPStatus.OK:
        return
    is_final = status < _SERVER_ERRORS and status not in _LATER
    raise Unfetched(_WORDS.get(status, f"its host answers {status}"), is_final=is_final)


def _source(url: str, answer: httpcore.Response) -> Source:
    if _header(answer, b"content-encoding").lower() not in ("", "identity"):
        raise Unfetched("its host sends it compressed, unasked", is_final=True)
    length = _header(answer, b"content-length")
    return Source(
        urlsplit(url).path,
        _header(answer, b"content-type"),
        int(length) if length.isascii() and length.isdigit() else None,
        answer.aiter_stream(),
    )


def _header(answer: httpcore.Response, name: bytes) -> str:
    found = (value for key, value in answer.headers if key.lower() == name)
    return next(found, b"").decode("latin-1").strip()
