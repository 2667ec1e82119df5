"""An upstream with a number of slots, each of which answers one request in a fixed time.

Run as `python -m benchmarks.slots PORT SLOTS SECONDS`. It shows vLLM's queue on /metrics. POST /models with a
JSON list says which models it serves from then on; others are answered as vLLM does.
"""

from __future__ import annotations

import asyncio
import json
import sys

from aiohttp import web


class Slots:
    """The server's state."""

    def __init__(self, slots: int, seconds: float) -> None:
        self._free = asyncio.Semaphore(slots)
        self._seconds = seconds
        self._models = ["instant", "other"]
        self._running = self._waiting = 0

    def routes(self) -> list[web.RouteDef]:
        """List what it answers."""
        return [
            web.get("/health", self.health),
            web.get("/metrics", self.metrics),
            web.get("/v1/models", self.models),
            web.post("/models", self.set_models),
            web.post("/v1/chat/completions", self.answer),
        ]

    async def health(self, _: web.Request) -> web.Response:
        """Be well."""
        return web.Response()

    async def metrics(self, _: web.Request) -> web.Response:
        """Show the queue as vLLM does."""
        rows = {"running": self._running, "waiting": self._waiting}
        return web.Response(
            text="".join(f'vllm:num_requests_{k}{{engine="0"}} {v}\n' for k, v in rows.items())
        )

    async def models(self, _: web.Request) -> web.Response:
        """List the models served now."""
        return web.json_response(
            {"data": [{"id": name, "object": "model"} for name in self._models]}
        )

    async def set_models(self, request: web.Request) -> web.Response:
        """Serve other models."""
        self._models = await request.json()
        return web.Response()

    async def answer(self, request: web.Request) -> web.Response:
        """Answer when a slot was free for the time of one answer."""
        model = json.loads(await request.read())["model"]
        if model not in self._models:
            error = {"message": f"The model `{model}` does not exist.", "code": 404}
            return web.json_response({"error": error}, status=404)
        self._waiting += 1
        async with self._free:
            self._waiting -= 1
            self._running += 1
            try:
                await asyncio.sleep(self._seconds)
            finally:
                self._running -= 1
        choice = {"index": 0, "message": {"content": "Well."}, "finish_reason": "stop"}
        return web.json_response({"id": "c", "object": "chat.completion", "choices": [choice]})


async def application(slots: int, seconds: float) -> web.Application:
    """Make the server."""
    app = web.Application(client_max_size=1 << 28)
    app.add_routes(Slots(slots, seconds).routes())
    return app


if __name__ == "__main__":
    web.run_app(
        application(int(sys.argv[2]), float(sys.argv[3])),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=None,
    )
