"""Where deliveries may go: to public addresses over HTTPS, and to networks that the operator named. Pure.

A URL that a client gives makes this host send a request. So it must not reach what only this host reaches:
loopback, private networks, link-local addresses (cloud metadata), and what is mapped onto them. Names are
judged by the addresses that they lead to, at each connection anew (`post`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import SplitResult, urlsplit

from batchline.errors import Invalid

from .records import handler_at

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LONGEST_URL = 2048
_SCHEMES = {"http": 80, "https": 443}
_LOCAL_NAMES = ("localhost", "internal", "local", "localdomain", "home.arpa", "intranet", "lan")
_NAT64 = ip_network("64:ff9b::/96")
_OF_THE_SITE = (
    ip_network(
        "192.0.0.0/24"
    ),  # of protocols, and metadata at Oracle; ipaddress calls most of it global
    ip_network("168.63.129.16/32"),  # what a host of Azure's asks about itself
    ip_network(
        "64:ff9b:1::/48"
    ),  # NAT64 of the site's own: which IPv4 address is meant, only it knows
)
_LOW_32 = (1 << 32) - 1
_UNUSUAL = re.compile(r"[^!-~]|\\")
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[0-9a-z_-]+(\.[0-9a-z_-]+)*\.?)(:[0-9]*)?")
_SETTING = "BATCHLINE_WEBHOOK_NETWORKS"


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL that was accepted, or the handler that it names."""
    if handler_at(url) is not None:
        return url
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}:{parts.port or _SCHEMES[parts.scheme]}"


def host_of(url: str) -> str:
    """Return what may be shown of a URL: its host and port, or its handler.

    Paths and queries may hold secrets.
    """
    if (handler := handler_at(url)) is not None:
        return handler
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return ""


def accepted_url(text: str, *, param: str, networks: Sequence[Network]) -> str:
    """Return the URL of a receiver as it is kept. Raises Invalid: it can never be delivered to."""
    why = _flaw_of(text, networks)
    if why is not None:
        raise Invalid(f"Invalid '{param}': {why}", param=param, code="invalid_value")
    return text


def _flaw_of(text: str, networks: Sequence[Network]) -> str | None:
    if len(text) > LONGEST_URL:
        return f"the URL has {len(text)} characters; at most {LONGEST_URL} are allowed."
    if _UNUSUAL.search(text):
        return "write the URL in printable ASCII characters without spaces (percent-encoded)."
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return "this is not a URL, such as https://example.com/hook."
    return _flaw_of_parts(parts, port, networks)


def _flaw_of_parts(parts: SplitResult, port: int | None, networks: Sequence[Network]) -> str | None:
    if parts.scheme not in _SCHEMES or not parts.hostname or port == 0:
        return "write an HTTPS URL, such as https://example.com/hook."
    if "@" in parts.netloc:
        return "user and password in the URL are not allowed; receivers know us by the signature."
    if not _AUTHORITY.fullmatch(parts.netloc.lower()):
        return "write a host name (IDN as xn--…) or an IP address, and a port if it is another."
    if parts.fragment:
        return "a fragment (#…) would not be sent; leave it out."
    return _flaw_of_host(parts, networks)


def _flaw_of_host(parts: SplitResult, networks: Sequence[Network]) -> str | None:
    host = (parts.hostname or "").rstrip(".").lower()
    if parts.scheme == "http" and not networks:
        return f"only HTTPS is delivered to; {_SETTING} names networks where HTTP is allowed, too."
    try:
        address = ip_address(host)
    except ValueError:
        return _flaw_of_name(host, networks)
    return refusal_of(address, networks, is_encrypted=parts.scheme == "https")


def _flaw_of_name(host: str, networks: Sequence[Network]) -> str | None:
    last = host.rpartition(".")[2]
    if not last or last[0].isdigit():
        return "write an IP address in its usual form."  # 2130706433, 0x7f.1: other ways to write 127.0.0.1
    is_local = "." not in host or any(
        host == name or host.endswith(f".{name}") for name in _LOCAL_NAMES
    )
    if is_local and not networks:
        return f"'{host}' is a name of private networks, which {_SETTING} does not allow."
    return None


def refusal_of(address: Address, networks: Sequence[Network], *, is_encrypted: bool) -> str | None:
    """Say why nothing is delivered to this address, or None: it is public, or its network is named."""
    meant = _meant(address)
    if any(address in network or meant in network for network in networks):
        return None
    if not _is_public(meant):
        return f"{address} is not a public address, and {_SETTING} does not name its network."
    if not is_encrypted:
        return f"{address} is public, and only HTTPS is delivered to public addresses."
    return None


def _meant(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or int(address) <= _LOW_32:
        return IPv4Address(int(address) & _LOW_32)
    return IPv6Address(int(address))  # without a zone


def _is_public(address: Address) -> bool:
    is_site_local = isinstance(address, IPv6Address) and address.is_site_local
    if is_site_local or any(address in network for network in _OF_THE_SITE):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)
