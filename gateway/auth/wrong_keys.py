"""Wrong keys by address: each further one is answered later, and the first of a while is logged.

Only wrong keys wait. A request with the right key is answered at once, also from the same address, since all
clients behind one proxy share an address.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

_AT_ONCE = 3  # a client that is being set up is not delayed
_FIRST_S = 0.1
_LONGEST_S = 2.0
_FORGOTTEN_S = 600.0
_LOGGED_AGAIN_S = 3600.0
_MOST_ADDRESSES = 1000


@dataclass(slots=True)
class _Tries:
    count: int = 0
    last_at: float = 0.0
    logged_at: float | None = None


class WrongKeys:
    """Wrong keys of each address. Times are seconds of a monotonic clock."""

    def __init__(self, *, longest_s: float = _LONGEST_S) -> None:
        self._longest_s = longest_s
        self._by_address: OrderedDict[str, _Tries] = OrderedDict()

    def note(self, address: str, now: float) -> tuple[float, bool]:
        """Count a wrong key; return the seconds to wait before the answer, and whether to log it."""
        tries = self._tries(_of_one_owner(address))
        if now - tries.last_at > _FORGOTTEN_S:
            tries.count = 0
        tries.count, tries.last_at = tries.count + 1, now
        is_news = tries.logged_at is None or now - tries.logged_at > _LOGGED_AGAIN_S
        if is_news:
            tries.logged_at = now
        further = tries.count - _AT_ONCE
        delay_s = (
            min(self._longest_s, _FIRST_S * 2.0 ** min(further - 1, 10)) if further > 0 else 0.0
        )
        return delay_s, is_news

    def _tries(self, address: str) -> _Tries:
        tries = self._by_address.setdefault(address, _Tries())
        self._by_address.move_to_end(address)
        if len(self._by_address) > _MOST_ADDRESSES:
            self._by_address.popitem(last=False)
        return tries


def _of_one_owner(address: str) -> str:
    """Return the network of an address's owner: for IPv6 its /64."""
    try:
        if ip_address(address).version == 6:  # noqa: PLR2004
            return str(ip_network((address.partition("%")[0], 64), strict=False))
    except ValueError:
        pass
    return address
