"""The address of a server as people write it → the form to which paths of requests are added. Pure.

Used by settings, doctor and the client commands, so that `…/v1` means the same everywhere.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from batchline.api.endpoints import INTERACTIVE, MODELS

_LIKE = "write it like http://127.0.0.1:8000"
_HOST = re.compile(r"[^\s\x00-\x20\x7f<>\"'`{}|\\^,;]+")
_PATH = re.compile(r"[^\s\x00-\x20\x7f<>\"`{}|\\^,;]*")
_SCHEME = re.compile(r"\w+://")
_QUERY = re.compile(r"([?#]).+", re.DOTALL)
_VERSION = "/v1"
_CUT = (*INTERACTIVE, MODELS, _VERSION)
"""Paths that requests add themselves; at the end of an address they are cut off."""


def server_url(text: str) -> str:
    """Return the address without what requests add themselves: a slash, `/v1`, an endpoint.

    `http://host/team/v1/chat/completions` → `http://host/team`. Raises ValueError: what is wrong with
    it, and what to write; passwords and queries are not repeated.
    """
    if "://" not in text:
        raise ValueError(f"has no scheme; {_or_like(f'http://{text}')}")
    try:
        parts = urlsplit(text)
        is_sound = bool(parts.port != 0 and parts.hostname and _HOST.fullmatch(parts.netloc))
        is_sound = is_sound and not parts.netloc.endswith(":")
    except ValueError:
        is_sound = False
    if not is_sound:
        raise ValueError(f"names no host that can be reached; {_LIKE}")
    if not _PATH.fullmatch(parts.path):
        raise ValueError(f"has characters behind its host that no address has; {_LIKE}")
    host = parts.netloc.rpartition("@")[2]
    bare = f"{parts.scheme}://{host}{without_endpoint(parts.path)}"
    if parts.scheme not in {"http", "https"}:
        raise ValueError(
            f"has the scheme '{parts.scheme}', but servers are reached over http or https; "
            f"{_or_like('http' + bare.removeprefix(parts.scheme))}"
        )
    if "@" in parts.netloc:
        raise ValueError(
            f"holds a user or a password; give the server's key as BATCHLINE_UPSTREAM_API_KEY and "
            f"write {bare}"
        )
    if parts.query or parts.fragment:
        raise ValueError(f"goes on with '{'?' if parts.query else '#'}'; write {bare}")
    return bare


def server_name(url: str) -> str:
    """Return the name of a server in metrics, logs and on the dashboard: its host, port and path.

    `url`: as `server_url` returns it.
    """
    return url.partition("://")[2]


def without_endpoint(address: str) -> str:
    """Return the address without the slash, `/v1` or endpoint at its end."""
    address = address.rstrip("/")
    end = next(filter(address.endswith, _CUT), "")
    return address.removesuffix(end).rstrip("/")


def without_secrets(address: str) -> str:
    """Return any text so that it can be shown: without what may be a password or a key in a query."""
    address = _QUERY.sub(r"\1…", address)
    before, at, after = address.rpartition("@")
    scheme = _SCHEME.match(before)
    return f"{scheme[0] if scheme else ''}…@{after}" if at else address


def _or_like(proposal: str) -> str:
    """Propose the address if it is a good one, else an example."""
    try:
        return f"write {server_url(proposal)}"
    except ValueError:
        return _LIKE
