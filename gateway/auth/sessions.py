"""The session of a browser whose reader gave the key once: a signed cookie, and nothing kept here.

The key is the secret, so that a new key ends all sessions. A session opens what may be read; whoever changes
something must also give its token, which only a page of this server can know.
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
    """A session that is valid: what its cookie holds, and the token that goes with it."""

    cookie: str
    token: str

    def has_token(self, given: str | None) -> bool:
        """Whether it was given, compared in constant time."""
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
        """Open one."""
        return self._session(self._signer.sign(secrets.token_hex(16)).decode())

    def read(self, cookie: str) -> Session | None:
        """Return the session of a cookie; None if it was not signed with this key, or is over."""
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
        """Return the time of the clock that was given."""
        return int(self.clock())
