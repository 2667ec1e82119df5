"""The address of a model server, or of what stands before them: checked before anything starts. Pure."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

_LIKE = "write it like http://127.0.0.1:8000"
_HOST = re.compile(r"[^\s\x00-\x20\x7f<>\"'`{}|\\^,;]+")


def server_url(text: str) -> str:
    """Return the address as it was given. Raises ValueError: what is wrong with it, and what to write."""
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
    bare = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
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
    if behind := _behind_host(parts):
        raise ValueError(
            f"has '{behind}' behind its host, but requests go to /v1/… of the server itself; "
            f"write {bare}"
        )
    return text


def _behind_host(parts: SplitResult) -> str:
    """Return what would be left out of every request; a slash alone is none."""
    path = "" if parts.path == "/" else parts.path
    query = f"?{parts.query}" if parts.query else ""
    return path + query + (f"#{parts.fragment}" if parts.fragment else "")


def _or_like(proposal: str) -> str:
    """Propose the address, if it would do."""
    try:
        return f"write {server_url(proposal)}"
    except ValueError:
        return _LIKE
