"""Looks at each backend: health, models, endpoints, the engine's own gauges. Remembers; decides nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

from batchline.clock import Clock
from batchline.config.server_url import server_name
from batchline.errors import NoDescriptors
from batchline.model import BackendStatus
from batchline.process.descriptors import Alarm
from dispatcher.backends.liveness import Liveness

from .asker import TIMEOUT_S, Asker
from .gauges import Gauges, engine_mark, read_gauges
from .served_models import ServedModels

log = logging.getLogger(__name__)

_PATIENCE_S = 1.0
"""One backend that is slow to answer does not delay the looks at the others."""
_MODELS_EVERY = 10
_ENDPOINTS_EVERY = 60  # looks; they change with a start or with a model, and each costs a request


@dataclass(slots=True)
class _Memory:
    """What one backend said before: to see changes and rates."""

    alive: bool | None = None
    since: int = 0
    looks: int = 0
    models: tuple[str, ...] = ()
    endpoints: tuple[str, ...] | None = None
    gauges: Gauges = field(default_factory=Gauges)
    gauges_at: float = 0.0
    liveness: Liveness = field(default_factory=Liveness)
    status: BackendStatus | None = None
    told: BackendStatus | None = None
    """The status that was told last: it is no news a second time."""
    alive_status: BackendStatus | None = None
    """The last one that says that it is alive."""
    look: asyncio.Task[BackendStatus] | None = None


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
        self._urls = list(urls)
        self._clock = clock
        self._memory = {u: _Memory() for u in self._urls}
        self._asker = Asker(api_key=api_key, alarm=alarm or Alarm(), timeout_s=timeout_s)
        self._served = ServedModels(self._urls, self._asker, clock=clock)

    async def __aenter__(self) -> Self:
        await self._asker.__aenter__()
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
        await self._asker.__aexit__(kind, exc, traceback)

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
        """Return which models are served now; None where nobody knows (`ServedModels`)."""
        is_one_dead = any(memory.alive is False for memory in self._memory.values())
        return None if is_one_dead else await self._served.ask()

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
        heard = await self._asker.health(url)
        reason = heard.trouble
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
        heard = await self._asker.get(url + "/metrics")
        gauges, reason = memory.gauges, None
        if heard.status is not None:  # else it is late: what it said before still holds
            page = heard.page
            memory.liveness = memory.liveness.record_metrics(
                engine_mark(page), now=self._clock.monotonic()
            )
            try:
                gauges = read_gauges(page)
            except ValueError as exc:
                gauges, reason = Gauges(), f"its /metrics cannot be read: {exc}"
        rate = self._take(memory, gauges)
        await self._list(url, memory)
        memory.looks += 1
        return BackendStatus(
            server_name(url),
            url,
            alive=True,
            since=memory.since,
            models=memory.models,
            endpoints=memory.endpoints,
            running=gauges.running,
            waiting=gauges.waiting,
            kv_cache_ratio=gauges.kv_cache_ratio,
            output_tokens_per_s=rate,
            reason=reason,
            is_stale=heard.status is None,
        )

    async def _list(self, url: str, memory: _Memory) -> None:
        """Ask, where it is time to, what it serves."""
        models = memory.models
        if memory.looks % _MODELS_EVERY == 0:
            models = await self._asker.models(url)
        if memory.looks % _ENDPOINTS_EVERY == 0 or models != memory.models:
            memory.endpoints = await self._asker.endpoints(url)
        memory.models = models

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
