"""The routes of this dialect. What is interactive passes `gateway.routes.proxy`, like other endpoints."""

from __future__ import annotations

from aiohttp import web

from . import batches, create, results
from .objects import BATCHES

_ONE = f"{BATCHES}/{{{batches.NAME}}}"


def routes() -> list[web.RouteDef]:
    """Return them all."""
    return [
        web.post(BATCHES, create.create),
        web.get(BATCHES, batches.index),
        web.get(_ONE, batches.show),
        web.delete(_ONE, batches.delete),
        web.post(f"{_ONE}/cancel", batches.cancel),
        web.get(f"{_ONE}/results", results.results),
    ]
