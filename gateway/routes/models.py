"""`/v1/models`: what the live backends serve, as the dispatcher last reported it."""

from __future__ import annotations

from aiohttp import web

from batchline.api.objects.model import model_list
from batchline.api.parameters import shown
from batchline.errors import NotFound
from gateway.answers import json_answer
from gateway.keys import STORE


async def index(request: web.Request) -> web.Response:
    """GET /v1/models."""
    return json_answer(model_list(await request.app[STORE].fleet_report()))


async def show(request: web.Request) -> web.Response:
    """GET /v1/models/{id}; the id may hold slashes."""
    model_id = request.match_info["model_id"]
    for model in model_list(await request.app[STORE].fleet_report()).data:
        if model.id == model_id:
            return json_answer(model)
    raise NotFound(
        f"The model '{shown(model_id)}' does not exist: no live backend serves it.",
        param="model",
        code="model_not_found",
    )
