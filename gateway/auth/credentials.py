"""Reads the credentials of a request, without checking them. They are secret."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

KEY_HEADERS = ("x-api-key", "api-key", "access_token")
"""Headers for a key beside `Authorization: Bearer`, as Anthropic's, Azure's and other clients send it."""
TOKEN_HEADER = "x-csrf-token"  # noqa: S105 - a header's name
COOKIE = "batchline_session"


@dataclass(frozen=True, slots=True)
class Credentials:
    """All credentials that a request gave, unchecked."""

    keys: tuple[bytes, ...] = ()
    password: bytes | None = None
    """Of HTTP's Basic authentication; the user's name is ignored."""
    session: str | None = None
    token: str | None = None
    """Proves, beside a session, that the request comes from our own page (see `sessions.py`)."""


def read(headers: Mapping[str, str]) -> Credentials:
    """Collect the credentials of a request; empty or malformed ones are left out."""
    scheme, _, rest = headers.get("Authorization", "").partition(" ")
    bearer = rest.strip() if scheme.lower() == "bearer" else ""
    named = (headers.get(name, "").strip() for name in KEY_HEADERS)
    return Credentials(
        keys=tuple(_bytes(key) for key in (bearer, *named) if key),
        password=_password(rest) if scheme.lower() == "basic" else None,
        session=_cookie(headers.get("Cookie", "")),
        token=headers.get(TOKEN_HEADER) or None,
    )


def _cookie(header: str) -> str | None:
    """Return our cookie; reading them all, as aiohttp does, takes 20 ms for the largest header."""
    pairs = (pair.strip().partition("=") for pair in header.split(";"))
    return next((value for name, _, value in pairs if name == COOKIE and value), None)


def _password(encoded: str) -> bytes | None:
    try:
        pair = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    return pair.partition(b":")[2] or None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
