"""Looks at each backend: health, models, the engine's own gauges. Decides nothing about lines."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp
import msgspec

from batchline.model import BackendStatus

_TIMEOUT_S = 5.0
_MODELS_EVERY = 10
_ASK_AGAIN_S = 1.0  # admissions that come together share one answer
_GAUGES = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:kv_cache_usage_perc": "kv",
    "vllm:generation_tokens_total": "tokens",
}


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
    tokens: float | None = None
    tokens_at: float = 0.0


class Probe:
    """The scraper of all backends."""

    def __init__(
        self, urls: Sequence[str], *, api_key: str | None, clock: Callable[[], float]
    ) -> None:
        self._urls = [u.rstrip("/") for u in urls]
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._clock = clock
        self._memory = {u: _Memory() for u in self._urls}
        self._asking = asyncio.Lock()
        self._served: frozenset[str] | None = None
        self._asked_at = -math.inf
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
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

    async def look(self) -> list[BackendStatus]:
        """Look at all backends at once, each within five seconds; in the configured order."""
        return await asyncio.gather(*(self._look_at(url) for url in self._urls))

    async def served(self) -> frozenset[str] | None:
        """Ask every backend which models it serves now: served names, aliases and adapters.

        None unless all of them are alive and list some model: then nobody knows what would be served.
        """
        async with self._asking:
            if time.monotonic() - self._asked_at >= _ASK_AGAIN_S:
                self._served = await self._ask_all()
                self._asked_at = time.monotonic()
            return self._served

    async def _ask_all(self) -> frozenset[str] | None:
        if any(memory.alive is False for memory in self._memory.values()):
            return None
        health = await asyncio.gather(*(self._health(url) for url in self._urls))
        if any(reason is not None for reason in health):
            return None
        lists = await asyncio.gather(*(self._models(url) for url in self._urls))
        return frozenset(m for models in lists for m in models) if all(lists) else None

    async def _look_at(self, url: str) -> BackendStatus:
        memory = self._memory[url]
        reason = await self._health(url)
        alive = reason is None
        if memory.alive is not alive:
            memory.alive, memory.since, memory.looks = alive, int(self._clock()), 0
        name = urlsplit(url).netloc
        if not alive:
            return BackendStatus(name, url, alive=False, since=memory.since, reason=reason)
        if memory.looks % _MODELS_EVERY == 0:
            memory.models = await self._models(url)
        memory.looks += 1
        gauges = read_gauges(await self._text(url + "/metrics"))
        running, waiting = gauges.get("running"), gauges.get("waiting")
        return BackendStatus(
            name,
            url,
            alive=True,
            since=memory.since,
            models=memory.models,
            running=None if running is None else int(running),
            waiting=None if waiting is None else int(waiting),
            kv_cache_ratio=gauges.get("kv"),
            output_tokens_per_s=_rate(memory, gauges.get("tokens")),
        )

    async def _health(self, url: str) -> str | None:
        status, _ = await self._get(url + "/health")
        if status == 404:  # noqa: PLR2004 - an OpenAI-compatible server without /health
            status, _ = await self._get(url + "/v1/models")
        if status is None:
            return "does not accept connections"
        return None if status < 500 else f"answers {status}"  # noqa: PLR2004

    async def _models(self, url: str) -> tuple[str, ...]:
        text = await self._text(url + "/v1/models")
        try:
            return tuple(m.id for m in msgspec.json.decode(text, type=_Models).data)
        except msgspec.DecodeError:
            return ()

    async def _text(self, url: str) -> str:
        status, text = await self._get(url)
        return text if status == 200 else ""  # noqa: PLR2004

    async def _get(self, url: str) -> tuple[int | None, str]:
        assert self._session is not None, "use it as `async with`"
        try:
            async with self._session.get(url) as response:
                return response.status, await response.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None, ""


def read_gauges(text: str) -> dict[str, float]:
    """Sum each engine's gauges out of a /metrics page (one server may hold several engines)."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if not line.startswith("vllm:"):
            continue
        name, _, value = line.replace("{", " ", 1).partition(" ")
        key = _GAUGES.get(name)
        if key is None:
            continue
        number = float(value.rsplit(" ", 1)[-1])
        if not math.isfinite(number):
            continue
        found[key] = max(found.get(key, 0.0), number) if key == "kv" else found.get(key, 0) + number
    return found


def _rate(memory: _Memory, tokens: float | None) -> float | None:
    now = time.monotonic()
    before, elapsed = memory.tokens, now - memory.tokens_at
    memory.tokens, memory.tokens_at = tokens, now
    if tokens is None or before is None or tokens < before or elapsed <= 0:
        return None
    return (tokens - before) / elapsed
