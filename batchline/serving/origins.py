"""Whether a request may come in at all: its HTTP version, the host that it names, the page that sent it.

Pure. A browser lets any web page send requests to this machine, and by DNS rebinding lets it read the
answers too: the page's own host name then points here. What gives both away is in the request's head,
where no page can forge it: Host, Origin, Sec-Fetch-Site (Fetch Standard §3.2; W3C Fetch Metadata §2).
Programs that are no browser send the last two not at all, and are never refused for that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

EVERY = "*"
"""Instead of names: any host is taken for ours."""
EVERY_HOST_WARNING = (
    "BATCHLINE_ALLOWED_HOSTS is *: any web page can read and change what is here, by DNS rebinding"
)

_VERSIONS = frozenset({(1, 0), (1, 1)})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_FOREIGN_SITES = frozenset(
    {"cross-site", "same-site"}
)  # same-site: another port or a sibling domain
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:[0-9]+)?")


class Access(StrEnum):
    """What is to become of a request, before anything else is asked."""

    GRANTED = "granted"
    PREFLIGHT = "preflight"
    """A browser asks whether a page of a named origin may send a request."""
    WRONG_VERSION = "wrong_version"
    UNKNOWN_HOST = "unknown_host"
    FOREIGN_ORIGIN = "foreign_origin"


@dataclass(frozen=True, slots=True)
class Head:
    """What the head of a request tells."""

    method: str
    version: tuple[int, int] = (1, 1)
    hosts: tuple[str, ...] = ()
    """`name` or `name:port`: of the header Host, and of the target where that is a whole URL."""
    origins: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    """Values of Sec-Fetch-Site."""
    asks_for: str | None = None
    """Access-Control-Request-Method."""


@dataclass(frozen=True, slots=True)
class Known:
    """The names that this server goes by, and the web pages that may use it."""

    hosts: frozenset[str] = frozenset({"localhost"})
    origins: frozenset[str] = frozenset()

    @property
    def takes_every_host(self) -> bool:
        """Whether nothing protects from DNS rebinding."""
        return EVERY in self.hosts

    def knows(self, authority: str) -> bool:
        """Tell whether a host is ours: named, or an address, which no rebinding can give a page."""
        host = host_of(authority)
        return self.takes_every_host or (
            host is not None and (host in self.hosts or is_address(host))
        )


def known(*, hosts: tuple[str, ...], origins: tuple[str, ...]) -> Known:
    """Gather what is known: localhost, the addresses listened on, and what the operator named."""
    names = {"localhost", *(host.lower() for host in hosts)}
    return Known(frozenset(names), frozenset(origins))


def judge(head: Head, known: Known) -> Access:
    """Say what becomes of a request."""
    if head.version not in _VERSIONS:
        return Access.WRONG_VERSION
    if not all(known.knows(host) for host in head.hosts):
        return Access.UNKNOWN_HOST
    is_named = bool(head.origins) and all(origin in known.origins for origin in head.origins)
    if is_named and head.method == "OPTIONS" and head.asks_for is not None:
        return Access.PREFLIGHT
    if head.method in _READING or is_named:
        return Access.GRANTED
    if not _FOREIGN_SITES.isdisjoint(head.sites) or foreign_origin(head) is not None:
        return Access.FOREIGN_ORIGIN
    return Access.GRANTED


def foreign_origin(head: Head) -> str | None:
    """Return the first origin that is not this server's own, as far as its Host tells."""
    # The scheme is left open: a proxy that ends TLS speaks plain HTTP to us.
    own = {f"{scheme}://{host.lower()}" for scheme in ("http", "https") for host in head.hosts}
    return next((origin for origin in head.origins if origin.lower() not in own), None)


def host_of(authority: str) -> str | None:
    """Return the host of `host` or `host:port` in lower case; an IPv6 address without its brackets."""
    host = authority
    if not is_address(authority):
        name, colon, port = authority.rpartition(":")
        if colon and not port.strip("0123456789"):
            host = name
    if host.startswith("["):
        host = host[1:].removesuffix("]")
        return host.lower() if is_address(host) and ":" in host else None
    return host.lower().removesuffix(".") or None


def is_address(host: str) -> bool:
    """Tell whether this is an IP address in its usual form."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def checked_host(value: str) -> str:
    """Return a host that the operator named, as it is compared. Raises ValueError: it cannot be one."""
    host = host_of(value)
    if value == EVERY:
        return value
    if host is None or not (is_address(host) or _NAME.fullmatch(host)):
        raise ValueError(
            "a host is a name without scheme or path, such as batch.example.org; or * for any"
        )
    return host


def checked_origin(value: str) -> str:
    """Return an origin that the operator named. Raises ValueError: it cannot be one."""
    origin = value.lower().removesuffix("/")
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(
            "an origin is scheme, host and port as a browser sends them, such as "
            "https://app.example.org or http://localhost:3000"
        )
    return origin
