"""Questions to one model server: its health, models, endpoints, metrics. No memory, no decision."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from batchline.api.endpoints import ENDPOINTS, MODELS
from batchline.errors import NoDescriptors
from batchline.process.descriptors import Alarm, are_out

from .offered_endpoints import offered

TIMEOUT_S = 5.0
_GONE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT})
_MOST_BYTES = 4 << 20
"""Longer answers are nobody's health, list of models or metrics."""


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


@dataclass(frozen=True, slots=True)
class Heard:
    """What came to one question. No status: nothing; `is_silent`: and nothing said that it is gone."""

    status: int | None
    text: str = ""
    is_silent: bool = False

    @property
    def trouble(self) -> str | None:
        """Say why a server that answers a look at its health so is not alive, or None."""
        if self.status is None:
            return "does not answer" if self.is_silent else "does not accept connections"
        return None if self.status < 500 else f"answers {self.status}"  # noqa: PLR2004

    @property
    def page(self) -> str:
        """The text of a good answer; empty of any other."""
        return self.text if self.status == HTTPStatus.OK else ""


class Asker:
    """One session for the questions to all backends."""

    def __init__(self, *, api_key: str | None, alarm: Alarm, timeout_s: float = TIMEOUT_S) -> None:
        """`alarm` sounds when no file descriptor is left."""
        self._alarm = alarm
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(keepalive_timeout=4.0),
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

    async def health(self, url: str) -> Heard:
        """Ask after its health. Raises NoDescriptors, as all questions do."""
        heard = await self.get(url + "/health")
        if heard.status == HTTPStatus.NOT_FOUND:  # an OpenAI-compatible server without /health
            heard = await self.get(url + MODELS)
        return heard

    async def models(self, url: str) -> tuple[str, ...]:
        """Ask which models it lists: served names, aliases and adapters; none where that cannot be read."""
        heard = await self.get(url + MODELS)
        try:
            return tuple(m.id for m in msgspec.json.decode(heard.page, type=_Models).data)
        except msgspec.DecodeError:
            return ()

    async def endpoints(self, url: str) -> tuple[str, ...] | None:
        """Ask which endpoints of batches it offers, and run none of them; None where it does not tell."""
        heard = await asyncio.gather(*(self.get(url + path) for path in ENDPOINTS))
        return offered(dict(zip(ENDPOINTS, (one.status for one in heard), strict=True)))

    async def get(self, url: str) -> Heard:
        """Ask one question."""
        assert self._session is not None, "use it as `async with`"
        try:
            async with self._session.get(url) as response:
                body = await _read(response.content)
                return Heard(response.status, body.decode("utf-8", "replace"))
        except TimeoutError:
            return Heard(None, is_silent=True)
        except (aiohttp.ClientError, OSError) as exc:
            if are_out(exc):
                self._alarm.sound()
                raise NoDescriptors("This process has no file descriptor left.") from exc
            return Heard(None, is_silent=getattr(exc, "errno", None) in _GONE)


async def _read(content: aiohttp.StreamReader) -> bytes:
    """Read an answer; one that is too long is as good as none."""
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > _MOST_BYTES:
            return b""
    return bytes(body)
