"""Receivers of webhooks: real servers that a test scripts, and how they verify what they are told."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import openai
from aiohttp import web
from standardwebhooks import Webhook, WebhookVerificationError

RESET = "reset"


@dataclass(frozen=True)
class Told:
    """One request that arrived."""

    headers: Mapping[str, str]
    body: bytes
    peer: str

    @property
    def id(self):
        return self.headers["webhook-id"]

    @property
    def batch_id(self):
        return json.loads(self.body)["data"]["id"]

    @property
    def signatures(self):
        return self.headers["webhook-signature"].split(" ")


class Receiver:
    """A server on one address. `script(told)` gives a status, a Response or RESET; without one it takes all."""

    def __init__(self, port=0, *, host="127.0.0.1", context=None):
        self._host, self._port, self._context = host, port, context
        self.told = []
        self.taken = []
        """Those that it answered with 2xx."""
        self.script = lambda _: 200
        self.release = asyncio.Event()
        """Set when those that hang shall go on."""

    @property
    def ids(self):
        return [told.id for told in self.told]

    @property
    def url(self):
        scheme = "http" if self._context is None else "https"
        return f"{scheme}://{self._host}:{self.port}/hook"

    @property
    def port(self):
        return self._runner.addresses[0][1]

    async def hang(self, _):
        await self.release.wait()
        return 200

    async def __aenter__(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._context)
        await site.start()
        return self

    async def __aexit__(self, *_):
        self.release.set()
        await self._runner.cleanup()

    async def _answer(self, request):
        told = Told(
            dict(request.headers),
            await request.read(),
            request.transport.get_extra_info("peername")[0],
        )
        self.told.append(told)
        answer = self.script(told)
        if inspect.isawaitable(answer):
            answer = await answer
        if answer == RESET:
            request.transport.abort()
            answer = 200
        elif isinstance(answer, int) and 200 <= answer < 300:
            self.taken.append(told)
        return web.Response(status=answer) if isinstance(answer, int) else answer


def unwrapped(told, secret):
    """Verify as two libraries do; return the event as OpenAI's package makes it."""
    Webhook(secret).verify(told.body, dict(told.headers))
    return _client().webhooks.unwrap(told.body, told.headers, secret=secret)


def is_signed_with(told, secret):
    try:
        unwrapped(told, secret)
    except (WebhookVerificationError, openai.InvalidWebhookSignatureError):
        return False
    return True


@cache
def _client():
    return openai.OpenAI(api_key="unused")
