"""Where the media of requests may come from: data URLs, and hosts that the operator named. Pure.

Admission checks each line by these rules, the dispatcher again when it fetches, and at each redirect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from .addresses import Address, Network, is_host_and_port, is_in, is_plain, is_public

SETTING = "BATCHLINE_MEDIA_HOSTS"
ANY_HOST = "*"
LONGEST_URL = 2048
_DATA = "data:"
_LONGEST_HEAD = 256  # of a data URL, before its comma: a type and parameters
_BASE64 = ";base64"
_SCHEMES = frozenset({"http", "https"})
_SUCH_AS = "such as https://media.example.org/a.wav or data:audio/wav;base64,…"


@dataclass(frozen=True, slots=True)
class MediaRules:
    """What the operator allows. Without hosts, data URLs alone."""

    hosts: tuple[str, ...] = ()
    """Names in lower case; `*.example.org` stands for all names below that one, `*` for any."""
    networks: Sequence[Network] = ()
    """Private networks that these hosts may be in."""
    max_bytes: int = 64 << 20

    def flaw_of(self, url: str) -> str | None:
        """Say why nothing is fetched from there, in a sentence; None where it may be tried."""
        if is_data_url(url):
            is_base64 = data_head(url).lower().endswith(_BASE64)
            return None if is_base64 else "a data URL must be base64: data:audio/wav;base64,…"
        if len(url) > LONGEST_URL:
            return f"the URL has {len(url)} characters; at most {LONGEST_URL} are allowed."
        if not is_plain(url):
            return "write the URL in printable ASCII characters without spaces (percent-encoded)."
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return f"this is not a URL, {_SUCH_AS}."
        if parts.scheme not in _SCHEMES or not parts.hostname or port == 0:
            return f"write an http or https URL, or a data URL, {_SUCH_AS}."
        return self._flaw_of_host(parts)

    def refusal_of(self, address: Address) -> str | None:
        """Say why nothing is fetched from this address of an allowed host, or None."""
        if is_public(address) or is_in(address, self.networks):
            return None
        return (
            f"its host leads to {address}, which is not public, and BATCHLINE_MEDIA_NETWORKS does not name "
            "its network."
        )

    def _flaw_of_host(self, parts: SplitResult) -> str | None:
        if "@" in parts.netloc:
            return "user and password in the URL are not allowed; use a signed URL."
        if not is_host_and_port(parts.netloc):
            return "write a host name (IDN as xn--…) or an IP address, and a port if it is another."
        host = (parts.hostname or "").rstrip(".").lower()
        if any(_matches(host, allowed) for allowed in self.hosts):
            return None
        named = ", ".join(self.hosts) or "none, so that only data URLs are taken"
        return (
            f"media are not fetched from '{host}'. Allowed hosts ({SETTING}): {named}. Send a data URL, or "
            "ask the operator to allow the host."
        )


NO_MEDIA = MediaRules()


def is_data_url(url: str) -> bool:
    """Whether the media stand in the URL itself (RFC 2397)."""
    return url[: len(_DATA)].lower() == _DATA


def data_head(url: str) -> str:
    """Return what a data URL has before its comma; empty where no comma comes soon."""
    head, comma, _ = url[: _LONGEST_HEAD + 1].partition(",")
    return head if comma else ""


def _matches(host: str, allowed: str) -> bool:
    if allowed == ANY_HOST:
        return True
    if allowed.startswith("*."):
        return host.endswith(allowed[1:])
    return host == allowed
