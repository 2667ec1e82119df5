"""A model server of any endpoint, well or sick. A well one makes so many answers at a time, each in a while.

Run as `python -m benchmarks.sick_server PORT [--slots 32] [--seconds 0.05] [--sick "FORM"]`. With `--sick` it
answers every line at once, in that form (`benchmarks/sickness.py`), and is healthy otherwise.
"""

from __future__ import annotations

import argparse
import asyncio

from aiohttp import web

from . import sickness


class Server:
    """One server and what its engine would say of itself."""

    def __init__(self, slots: int, seconds: float, form: sickness.Form | None) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._seconds = seconds
        self._form = form
        self._running = self._waiting = self._answered = self._refused = 0

    def app(self) -> web.Application:
        """Return its routes."""
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/refused", self._told)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/{tail:.*}", self._answer)
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            text=f"vllm:num_requests_running {self._running}\n"
            f"vllm:num_requests_waiting {self._waiting}\n"
            f"vllm:generation_tokens_total {self._answered}\n"
        )

    async def _told(self, _: web.Request) -> web.Response:
        return web.Response(text=str(self._refused))

    async def _models(self, _: web.Request) -> web.Response:
        if self._form is not None and self._form.bars_models:
            return self._sick(self._form)
        return web.json_response({"object": "list", "data": [{"id": sickness.MODEL}]})

    async def _answer(self, request: web.Request) -> web.Response:
        await request.read()
        if self._form is not None:
            self._refused += 1
            return self._sick(self._form)
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        self._running += 1
        try:
            await asyncio.sleep(self._seconds)
        finally:
            self._running -= 1
            self._slots.release()
        self._answered += 1
        return web.Response(body=sickness.answer(request.path), content_type="application/json")

    def _sick(self, form: sickness.Form) -> web.Response:
        return web.Response(
            status=form.status, body=form.body, content_type=form.kind, headers=form.headers
        )


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--sick", default="", help="the name of a form")
    asked = parser.parse_args()
    forms = {form.name: form for form in (*sickness.FORMS, *sickness.OTHERS)}
    form = forms[asked.sick] if asked.sick else None
    web.run_app(
        Server(asked.slots, asked.seconds, form).app(),
        host="127.0.0.1",
        port=asked.port,
        access_log=None,
        print=None,
        handler_cancellation=True,
    )


if __name__ == "__main__":
    main()
