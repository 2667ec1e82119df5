"""The button of the dashboard that delivers something once more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from batchline.errors import Invalid
from batchline.webhooks.records import delivery_number

from .auth import own_form
from .keys import STORE, now

REFRESH: web.AppKey[Callable[[], Awaitable[None]]] = web.AppKey("refresh")
"""Lets the page show what was changed just now."""


async def replay(request: web.Request) -> web.Response:
    """POST /replay: make a delivery pending and due at once, and lead back to the panel.

    Raises Invalid, Forbidden. One that is not kept any more is left out.
    """
    fields = await own_form(request)
    number = delivery_number(fields.get("delivery", ""))
    if number is None:
        raise Invalid("Name the delivery as the page does, such as delivery=dlv_12.")
    await request.app[STORE].replay_delivery(number, now=now(request))
    await request.app[REFRESH]()
    raise web.HTTPSeeOther("/#h-deliveries")
