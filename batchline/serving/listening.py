"""The address that a process listens on: which are allowed, what stands behind it, and how it is asked. Pure.

Used wherever something binds a port or asks one of ours on this host, so that both mean the same.
"""

from __future__ import annotations

import errno
import re
from ipaddress import ip_address

LOOPBACK = "127.0.0.1"
EVERY_IPV4 = "0.0.0.0"  # noqa: S104 - named, not bound
EVERY_ADDRESS = "::"
NO_SUCH_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
"""What the system says of an address of a family, or of a host, that it does not have."""
_ALLOWED = f"write an IP address such as {LOOPBACK}, {EVERY_IPV4} or ::, or a name of this host"
_NUMBERS = re.compile(r"[\d.]+")
_NAME = re.compile(r"(?!-)[\w-]+(\.[\w-]+)*\.?")


def listening_host(text: str) -> str:
    """Return the address as it was given. Raises ValueError: what is wrong with it, and what to write."""
    if not text.strip():
        raise ValueError(f"is empty; {_ALLOWED}")
    bare = text.strip("[]")
    if "://" in text or "/" in text:
        raise ValueError(f"is a URL, but only its host is wanted; {_ALLOWED}")
    if _is_ip(text):
        return text
    if _is_ip(bare):
        raise ValueError(f"has brackets; write {bare}")
    host, colon, port = text.rpartition(":")
    if colon and port.isdigit() and (_is_ip(host.strip("[]")) or _NAME.fullmatch(host)):
        raise ValueError(f"has a port, which is a setting of its own; write {host.strip('[]')}")
    if not _NAME.fullmatch(text) or _NUMBERS.fullmatch(text):
        raise ValueError(f"is no address to listen on; {_ALLOWED}")
    return text


def hosts_behind(host: str) -> tuple[str, ...]:
    """Return what to bind for `host`: both families for `::`, each on a socket of its own."""
    return (EVERY_IPV4, EVERY_ADDRESS) if host == EVERY_ADDRESS else (host,)


def where_to_ask(host: str) -> str:
    """Return the address at which this host reaches what listens on `host`."""
    return LOOPBACK if host in {EVERY_IPV4, EVERY_ADDRESS} else host


def is_loopback(host: str) -> bool:
    """Whether what listens on `host` is reached from this machine alone. Names but localhost may lead out."""
    if _is_ip(host):
        address = ip_address(host)
        return address.is_loopback or bool(
            (mapped := getattr(address, "ipv4_mapped", None)) and mapped.is_loopback
        )
    return host.lower().removesuffix(".") == "localhost"


def published_host(text: str) -> str:
    """Return the address that a container engine publishes on, where it may stand in brackets.

    Raises ValueError, as `listening_host`.
    """
    return listening_host(text.strip("[]"))


def shown_address(host: str, port: int) -> str:
    """Return host:port as it stands in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
