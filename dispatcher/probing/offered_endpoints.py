"""Which endpoints a backend offers, told from how it answers GET on them: nothing is run to find out. Pure.

A route that takes POST answers GET with 405, and what is no route with 404 (RFC 9110 §15.5.6): FastAPI, axum
and aiohttp do. Servers that answer 404 to both tell nothing by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

_NO_ROUTE = HTTPStatus.NOT_FOUND
_OTHER_METHOD = HTTPStatus.METHOD_NOT_ALLOWED
_A_ROUTE = frozenset(
    {_OTHER_METHOD, HTTPStatus.OK, HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}
)
"""OpenAI lists stored completions where it also takes new ones."""


def offered(statuses: Mapping[str, int | None]) -> tuple[str, ...] | None:
    """Return the endpoints that are offered, of those asked for: endpoint -> status, None of no answer.

    None where that cannot be told: one answer is missing or about something else (the key, a failure), or
    none is a 405, so that a 404 may mean anything.
    """
    told = set(statuses.values())
    if _OTHER_METHOD not in told or not told <= {_NO_ROUTE, *_A_ROUTE}:
        return None
    return tuple(endpoint for endpoint, status in statuses.items() if status in _A_ROUTE)
