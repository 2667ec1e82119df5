"""Which backend gets a line: of those that may take one, the one with the fewest of our requests.

Behind our nginx (backends are named, and the upstream is none of them) the dispatcher chooses and nginx
obeys. Otherwise there is one berth, the upstream itself. Sends nothing; `flight` asks and tells.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from batchline.model import BackendStatus

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Berth:
    """One backend as a place for lines."""

    name: str
    pin: str | None
    """What tells nginx to take a line here; None where nobody chooses."""
    in_flight: int = 0
    is_out: bool = False


class Placement:
    """The berths, and the choice between them."""

    def __init__(self, upstream_url: str, backend_urls: Sequence[str]) -> None:
        urls = [url.rstrip("/") for url in backend_urls]
        is_pinned = bool(urls) and upstream_url.rstrip("/") not in urls
        names = [urlsplit(url).netloc for url in (urls if is_pinned else [upstream_url])]
        self._models: frozenset[str] = frozenset()
        self.berths = tuple(Berth(name, name if is_pinned else None) for name in names)

    def choose(self, *, avoid: Berth | None) -> Berth | None:
        """Return the berth for a line; `avoid` only where there is no other. None: wait."""
        best = None
        for berth in self.berths:
            if berth.is_out or (best is not None and best.in_flight <= berth.in_flight):
                continue
            if berth is not avoid:
                best = berth
        if best is None and avoid is not None and not avoid.is_out:
            return avoid
        return best

    def refused(self, berth: Berth) -> bool:
        """Take a backend out that took no connection; tell whether another one is left."""
        if berth.pin is not None and not berth.is_out:
            berth.is_out = True
            log.warning("backend %s takes no connections", berth.name)
        return any(not other.is_out for other in self.berths)

    def looked(self, backends: Sequence[BackendStatus]) -> None:
        """Take in what the probe saw."""
        alive = {backend.name: backend.alive for backend in backends}
        self._models = frozenset(m for b in backends if b.alive for m in b.models)
        for berth in self.berths:
            if berth.pin is not None:
                berth.is_out = not alive.get(berth.name, True)

    def serves(self, model: str | None) -> bool:
        """Whether a live backend listed `model` when they were looked at last."""
        return model in self._models
