"""Which addresses are public: what only this host, its network or its cloud reaches is not. Pure.

A URL that a client gives makes this host send a request. So it must not reach loopback, private networks,
link-local addresses (cloud metadata), and what is mapped onto them. Names are judged by the addresses that
they lead to, at each connection anew (`connection`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

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


def is_plain(url: str) -> bool:
    """Whether it holds printable ASCII alone, and no backslash, which readers take for different things."""
    return _UNUSUAL.search(url) is None


def is_host_and_port(authority: str) -> bool:
    """Whether the part of a URL before its path is a host, and a port perhaps: no user, no odd characters."""
    return _AUTHORITY.fullmatch(authority.lower()) is not None


def is_in(address: Address, networks: Iterable[Network]) -> bool:
    """Whether the address, or what it stands for, belongs to one of these."""
    meant = _meant(address)
    return any(address in network or meant in network for network in networks)


def is_public(address: Address) -> bool:
    """Whether anybody reaches what this address stands for."""
    meant = _meant(address)
    is_site_local = isinstance(meant, IPv6Address) and meant.is_site_local
    if is_site_local or any(meant in network for network in _OF_THE_SITE):
        return False
    return meant.is_global and not (meant.is_multicast or meant.is_reserved)


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
