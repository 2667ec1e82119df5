"""What each route asks of whoever calls it, where a key is set. What is not named here asks for the key."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Entrance(StrEnum):
    """Kinds of routes, by what opens them."""

    OPEN = "open"
    """Nothing is asked: whether the process lives, and what the page to sign in with is made of."""
    WATCH = "watch"
    """The key, also as a Basic password, a session, or an address that may watch: what scrapers read."""
    PAGE = "page"
    """The key or a session; a browser without is sent to sign in."""
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
}


def entrance(route: str | None) -> Entrance:
    """Return what a route asks for, by its template; None is a path that no route has."""
    return _ENTRANCES.get(route or "", Entrance.API)
