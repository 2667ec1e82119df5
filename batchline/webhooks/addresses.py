"""Where deliveries may go: to public addresses over HTTPS, and to networks that the operator named. Pure.

Names are judged by the addresses that they lead to, at each connection anew (`post`); which addresses are
public, `batchline.outbound` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from batchline.errors import Invalid
from batchline.outbound.addresses import (
    Address,
    Network,
    is_host_and_port,
    is_in,
    is_plain,
    is_public,
)

from .records import handler_at

LONGEST_URL = 2048
_SCHEMES = {"http": 80, "https": 443}
_LOCAL_NAMES = ("localhost", "internal", "local", "localdomain", "home.arpa", "intranet", "lan")
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
    if not is_plain(text):
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
    if not is_host_and_port(parts.netloc):
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
    if is_in(address, networks):
        return None
    if not is_public(address):
        return f"{address} is not a public address, and {_SETTING} does not name its network."
    if not is_encrypted:
        return f"{address} is public, and only HTTPS is delivered to public addresses."
    return None
