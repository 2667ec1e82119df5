"""A model server as a process of its own, which can be killed, and which dies of its poison.

    python model_server.py PORT LOG LATENCY_S [POISON]

Every request that arrived whole is written to LOG before it is answered, so that the log outlives the
process: one line `seconds begin|end custom_tag`. A line of POISON kills the process, as an engine dies of
a prompt. How long an answer takes is fixed by the line's tag: the same on every run.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import zlib

from aiohttp import web


def latency_of(tag: str, mean_s: float) -> float:
    """Between half and one and a half of the mean."""
    return mean_s * (0.5 + zlib.crc32(tag.encode()) % 1000 / 1000)


def completion(tag: str) -> dict[str, object]:
    """Answer as vLLM does; the text says which line it was."""
    message = {"role": "assistant", "content": f"answer to {tag}"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


class ModelServer:
    """The routes that the dispatcher and its probe know."""

    def __init__(self, log: str, latency_s: float, poison: str | None) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._latency_s = latency_s
        self._poison = poison

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._answer)
        return app

    def _note(self, event: str, tag: str) -> None:
        os.write(self._log, f"{time.time():.6f} {event} {tag}\n".encode())

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "m", "object": "model"}]})

    async def _answer(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        tag = body["tag"]
        self._note("begin", tag)
        try:
            if tag == self._poison:
                os._exit(137)
            # what an answer takes; this program finds no other module of the tests
            await asyncio.sleep(latency_of(tag, self._latency_s))
            return web.json_response(completion(tag) | {"padding": body.get("padding", "")})
        finally:
            self._note("end", tag)


if __name__ == "__main__":
    port, log, latency_s, *poison = sys.argv[1:]
    server = ModelServer(log, float(latency_s), poison[0] if poison else None)
    web.run_app(
        server.app(),
        host="127.0.0.1",
        port=int(port),
        print=None,
        access_log=None,
        handler_cancellation=True,
        reuse_address=True,
    )
