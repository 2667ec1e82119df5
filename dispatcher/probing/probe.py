"""Looks at each backend: health, models, the engine's own gauges. Decides nothing about lines."""

from __future__ import annotations

import asyncio
import errno
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from batchline.api.endpoints import MODELS
from batchline.clock import Clock
from batchline.config.server_url import server_name
from batchline.errors import NoDescriptors
from batchline.model import BackendStatus
from batchline.process.descriptors import Alarm, are_out
from dispatcher.backends.liveness import Liveness

from .gauges import Gauges, engine_mark, read_gauges

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
_PATIENCE_S = 1.0
"""One backend that is slow to answer does not delay the looks at the others."""
_GONE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT})
_MODELS_EVERY = 10
_ASK_AGAIN_S = 1.0  # admissions that come together share one answer
_MOST_BYTES = 4 << 20
"""Longer answers are nobody's health, list of models or metrics."""


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


@dataclass(slots=True)
class _Memory:
    """What one backend said before: to see changes and rates."""

    alive: bool | None = None
    since: int = 0
    looks: int = 0
    models: tuple[str, ...] = ()
    gauges: Gauges = field(default_factory=Gauges)
    gauges_at: float = 0.0
    liveness: Liveness = field(default_factory=Liveness)
    status: BackendStatus | None = None
    told: BackendStatus | None = None
    """The status that was told last: it is no news a second time."""
    alive_status: BackendStatus | None = None
    """The last one that says that it is alive."""
    look: asyncio.Task[BackendStatus] | None = None


@dataclass(frozen=True, slots=True)
class _Heard:
    """What came to one question. No status: nothing; `is_silent`: and nothing said that it is gone."""

    status: int | None
    text: str = ""
    is_silent: bool = False


class Probe:
    """The scraper of all backends."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        api_key: str | None,
        clock: Clock,
        alarm: Alarm | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Begin without a look. `alarm` sounds when no file descriptor is left."""
        self._alarm = alarm or Alarm()
        self._urls = list(urls)
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._clock = clock
        self._timeout_s = timeout_s
        self._memory = {u: _Memory() for u in self._urls}
        self._asking = asyncio.Lock()
        self._served: frozenset[str] | None = None
        self._asked_at = -math.inf
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
        looks = [memory.look for memory in self._memory.values() if memory.look is not None]
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def look(self) -> list[BackendStatus]:
        """Look at all backends at once, for a second; in the configured order.

        One that takes longer (five seconds at most) is told as it was seen before, as stale.
        """
        looks = [self._begin(url) for url in self._urls]
        await asyncio.wait(looks, timeout=_PATIENCE_S)
        for look in looks:
            if look.done():
                look.result()
        return [self._tell(url) for url in self._urls]

    @property
    def liveness_of(self) -> dict[str, Liveness]:
        """What the looks so far say of each backend's life, by its name."""
        return {server_name(url): memory.liveness for url, memory in self._memory.items()}

    def last_alive(self, name: str) -> BackendStatus | None:
        """Return what was seen of a backend when it was last seen alive, or None."""
        found = (memory.alive_status for memory in self._memory.values())
        return next((one for one in found if one is not None and one.name == name), None)

    def _tell(self, url: str) -> BackendStatus:
        memory = self._memory[url]
        status = memory.status or self._unknown(url)
        if status is memory.told:
            return replace(status, is_stale=True)
        memory.told = status
        return status

    def _begin(self, url: str) -> asyncio.Task[BackendStatus]:
        memory = self._memory[url]
        if memory.look is None or memory.look.done():
            memory.look = asyncio.get_running_loop().create_task(self._look_at(url))
        return memory.look

    def _unknown(self, url: str) -> BackendStatus:
        name = server_name(url)
        since = int(self._clock.now())
        return BackendStatus(name, url, alive=False, since=since, reason="has not answered yet")

    async def served(self) -> frozenset[str] | None:
        """Ask every backend which models it serves now: served names, aliases and adapters.

        None unless all of them are alive and list some model: then nobody knows what would be served.
        """
        async with self._asking:
            if self._clock.monotonic() - self._asked_at >= _ASK_AGAIN_S:
                try:
                    self._served = await self._ask_all()
                except NoDescriptors:
                    return None
                self._asked_at = self._clock.monotonic()
            return self._served

    async def _ask_all(self) -> frozenset[str] | None:
        if any(memory.alive is False for memory in self._memory.values()):
            return None
        health = await asyncio.gather(*(self._health(url) for url in self._urls))
        if any(reason is not None for reason in health):
            return None
        lists = await asyncio.gather(*(self._models(url) for url in self._urls))
        return frozenset(m for models in lists for m in models) if all(lists) else None

    def list_again(self, name: str) -> None:
        """Have the next look read anew which models a backend lists."""
        for url, memory in self._memory.items():
            if server_name(url) == name:
                memory.looks = 0

    async def _look_at(self, url: str) -> BackendStatus:
        """Look at one backend; whatever breaks that is its own reason, and nobody else's."""
        memory = self._memory[url]
        try:
            memory.status = await self._see(url)
        except NoDescriptors:
            return memory.status or self._unknown(url)  # what was seen before still holds
        except Exception as exc:
            log.exception("the look at %s broke", url)
            memory.status = self._dead(url, f"cannot be looked at: {type(exc).__name__}")
        return memory.status

    async def _see(self, url: str) -> BackendStatus:
        memory, asked_at = self._memory[url], self._clock.monotonic()
        heard = await self._ask_health(url)
        reason = _reason(heard)
        if heard.is_silent:
            memory.liveness = memory.liveness.record_silence(since=asked_at)
        else:
            memory.liveness = memory.liveness.record_answer()
        if memory.alive is not (reason is None):
            memory.alive, memory.since, memory.looks = reason is None, int(self._clock.now()), 0
        if reason is not None:
            return self._dead(url, reason)
        memory.alive_status = await self._describe(url)
        return memory.alive_status

    def _dead(self, url: str, reason: str) -> BackendStatus:
        memory = self._memory[url]
        since = memory.since or int(self._clock.now())
        return BackendStatus(server_name(url), url, alive=False, since=since, reason=reason)

    async def _describe(self, url: str) -> BackendStatus:
        memory = self._memory[url]
        heard = await self._get(url + "/metrics")
        gauges, reason = memory.gauges, None
        if heard.status is not None:  # else it is late: what it said before still holds
            page = heard.text if heard.status == HTTPStatus.OK else ""
            memory.liveness = memory.liveness.record_metrics(
                engine_mark(page), now=self._clock.monotonic()
            )
            try:
                gauges = read_gauges(page)
            except ValueError as exc:
                gauges, reason = Gauges(), f"its /metrics cannot be read: {exc}"
        rate = self._take(memory, gauges)
        if memory.looks % _MODELS_EVERY == 0:
            memory.models = await self._models(url)
        memory.looks += 1
        return BackendStatus(
            server_name(url),
            url,
            alive=True,
            since=memory.since,
            models=memory.models,
            running=gauges.running,
            waiting=gauges.waiting,
            kv_cache_ratio=gauges.kv_cache_ratio,
            output_tokens_per_s=rate,
            reason=reason,
            is_stale=heard.status is None,
        )

    def _take(self, memory: _Memory, gauges: Gauges) -> float | None:
        """Remember the gauges; return the tokens a second since the last ones."""
        now, before = self._clock.monotonic(), memory.gauges
        elapsed_s = now - memory.gauges_at
        memory.gauges, memory.gauges_at = gauges, now
        if gauges.tokens is None or before.tokens is None or elapsed_s <= 0:
            return None
        if gauges.tokens < before.tokens:
            memory.looks = 0  # it started anew between two looks, perhaps with another model
            return None
        return (gauges.tokens - before.tokens) / elapsed_s

    async def _health(self, url: str) -> str | None:
        return _reason(await self._ask_health(url))

    async def _ask_health(self, url: str) -> _Heard:
        heard = await self._get(url + "/health")
        if heard.status == HTTPStatus.NOT_FOUND:  # an OpenAI-compatible server without /health
            heard = await self._get(url + MODELS)
        return heard

    async def _models(self, url: str) -> tuple[str, ...]:
        text = await self._text(url + MODELS)
        try:
            return tuple(m.id for m in msgspec.json.decode(text, type=_Models).data)
        except msgspec.DecodeError:
            return ()

    async def _text(self, url: str) -> str:
        heard = await self._get(url)
        return heard.text if heard.status == HTTPStatus.OK else ""

    async def _get(self, url: str) -> _Heard:
        assert self._session is not None, "use it as `async with`"
        try:
            async with self._session.get(url) as response:
                body = await _read(response.content)
                return _Heard(response.status, body.decode("utf-8", "replace"))
        except TimeoutError:
            return _Heard(None, is_silent=True)
        except (aiohttp.ClientError, OSError) as exc:
            if are_out(exc):
                self._alarm.sound()
                raise NoDescriptors("This process has no file descriptor left.") from exc
            return _Heard(None, is_silent=getattr(exc, "errno", None) in _GONE)


async def _read(content: aiohttp.StreamReader) -> bytes:
    """Read an answer; one that is too long is as good as none."""
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > _MOST_BYTES:
            return b""
    return bytes(body)


def _reason(heard: _Heard) -> str | None:
    """Say why it is not alive, or None."""
    if heard.status is None:
        return "does not answer" if heard.is_silent else "does not accept connections"
    return None if heard.status < 500 else f"answers {heard.status}"  # noqa: PLR2004
