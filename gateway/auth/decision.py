"""Decides who sends a request, from its credentials and its route. Pure but for the clock.

At present there is one key, and its holder may do everything.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address

from .credentials import Credentials
from .entrances import Entrance
from .sessions import Session, Sessions

Network = IPv4Network | IPv6Network


class Means(StrEnum):
    """How a caller was identified."""

    UNASKED = "unasked"
    KEY = "key"
    PASSWORD = "password"  # noqa: S105 - a name
    SESSION = "session"
    ADDRESS = "address"


class Refusal(StrEnum):
    """Why no caller was identified."""

    NO_KEY = "no key"
    WRONG_KEY = "wrong key"
    NO_TOKEN = "no token"  # noqa: S105 - a name


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request."""

    means: Means
    session: Session | None = None


UNASKED = Caller(Means.UNASKED)


class Lock:
    """The key of a server, and what is accepted instead of it."""

    def __init__(
        self, key: str, *, watchers: Sequence[Network] = (), clock: Callable[[], float]
    ) -> None:
        self._key = key.encode()
        self._watchers = watchers
        self.sessions = Sessions(key, clock=clock)

    def fits(self, key: bytes) -> bool:
        """Whether this is the key, compared in constant time (as bytes: not every key is ASCII)."""
        return hmac.compare_digest(key, self._key)

    def who(
        self, given: Credentials, at: Entrance, *, address: str | None, is_change: bool
    ) -> Caller | Refusal:
        """Identify the caller. `address` is that of the connection; `is_change`: it does not only read."""
        session = self.sessions.read(given.session) if given.session else None
        if at is Entrance.OPEN:
            return Caller(Means.SESSION, session) if session else UNASKED
        if means := self._without_session(given, at, address):
            return Caller(means)
        if session is None:
            was_given = given.keys or (at is Entrance.WATCH and given.password is not None)
            return Refusal.WRONG_KEY if was_given else Refusal.NO_KEY
        if is_change and not session.has_token(given.token):
            return Refusal.NO_TOKEN
        return Caller(Means.SESSION, session)

    def _without_session(
        self, given: Credentials, at: Entrance, address: str | None
    ) -> Means | None:
        if any(self.fits(key) for key in given.keys):
            return Means.KEY
        if at is not Entrance.WATCH:
            return None
        if given.password is not None and self.fits(given.password):
            return Means.PASSWORD
        return Means.ADDRESS if self._may_watch(address) else None

    def _may_watch(self, address: str | None) -> bool:
        if not self._watchers or not address:
            return False
        try:
            found = ip_address(address.partition("%")[0])
        except ValueError:  # a Unix socket
            return False
        found = getattr(found, "ipv4_mapped", None) or found
        return any(found in network for network in self._watchers)
