"""The credentials that each route needs if a key is set. A route that is not named here needs the key."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Entrance(StrEnum):
    """Kinds of routes, by the credentials they need."""

    OPEN = "open"
    """None: the liveness check, and the parts of the page to sign in."""
    WATCH = "watch"
    """The key, also as a Basic password, a session, or an address that may watch: pages for scrapers."""
    PAGE = "page"
    """The key or a session; a browser without either is sent to sign in."""
    API = "api"
    """The key or a session."""


_ENTRANCES: Mapping[str, Entrance] = {
    "/health": Entrance.OPEN,
    "/sign-in": Entrance.OPEN,
    "/static/{name}": Entrance.OPEN,
    "/favicon.svg": Entrance.OPEN,
    "/ready": Entrance.WATCH,
    "/metrics": Entrance.WATCH,
    "/": Entrance.PAGE,
    "/docs": Entrance.PAGE,
    "/sign-out": Entrance.PAGE,
    "/replay": Entrance.PAGE,
}
FORMS = frozenset({"/sign-out", "/replay"})
"""The forms of pages, which hold the token of the session themselves."""


def entrance(route: str | None) -> Entrance:
    """Return the kind of a route by its template; None is a path without a route."""
    return _ENTRANCES.get(route or "", Entrance.API)
