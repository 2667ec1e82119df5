"""The session of a browser in which somebody gave the key: a signed cookie. The server stores nothing.

The key is the secret, so that a new key ends all sessions. A session allows reading. A change also needs the
session's token, which only a page of this server can know.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from itsdangerous import BadSignature, Signer, TimestampSigner

LASTS_S = 12 * 3600


@dataclass(frozen=True, slots=True)
class Session:
    """A valid session: the value of its cookie, and its token."""

    cookie: str
    token: str

    def has_token(self, given: str | None) -> bool:
        """Whether `given` is the token, compared in constant time."""
        return given is not None and hmac.compare_digest(
            given.encode("utf-8", "surrogateescape"), self.token.encode()
        )


class Sessions:
    """Opens sessions and reads them."""

    def __init__(self, key: str, *, clock: Callable[[], float]) -> None:
        derived: dict[str, Any] = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._signer = _Signer(key, salt="batchline.session", **derived)
        self._signer.clock = clock
        self._tokens = Signer(key, salt="batchline.token", **derived)

    def open(self) -> Session:
        """Open a session."""
        return self._session(self._signer.sign(secrets.token_hex(16)).decode())

    def read(self, cookie: str) -> Session | None:
        """Return the session of a cookie; None if it was not signed with this key, or has expired."""
        if not cookie.isascii():
            return None
        try:
            self._signer.unsign(cookie, max_age=LASTS_S)
        except BadSignature:  # or SignatureExpired, which is one
            return None
        return self._session(cookie)

    def _session(self, cookie: str) -> Session:
        return Session(cookie, self._tokens.get_signature(cookie).decode())


class _Signer(TimestampSigner):
    clock: Callable[[], float]

    def get_timestamp(self) -> int:
        """Return the time of the given clock."""
        return int(self.clock())
