"""The model servers, outside the system under test: they deal each line its faults and log every request.

One `Witness` holds all servers of a history and the one log. Answers echo the line's tag.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter

from aiohttp import web
from waiting import pass_time

from .faults import REFUSAL, SICK, Fate, Fault
from .history import Send
from .listening import Listening
from .schedule import BatchPlan

MODEL = "m"
CANARY = "canary-"
"""How the name of a request begins that the dispatcher makes by itself: it belongs to no line."""
_DRIP_BYTES = 12
_DRIP_S = 0.2
_SLOW_S = 0.02


class Witness:
    """The log, and what each line is dealt."""

    def __init__(self, latency_s, *, has_gauges):
        self.latency_s = latency_s
        self.has_gauges = has_gauges
        self.sends: list[Send] = []
        self.plans: dict[str, BatchPlan] = {}
        self.moved = asyncio.Event()
        """Set at each arrival; who waits for progress clears it."""
        self.arrived: dict[str, set[str]] = {}
        """Batch name → tags of its lines seen so far."""
        self._times = Counter()
        self.over = asyncio.Event()

    def seen(self):
        """Count the lines that have arrived at least once."""
        return sum(len(tags) for tags in self.arrived.values())

    def take(self, tag, upstream, *, sick=""):
        """Log one arrival; return it with what it is dealt: its own, or what a `sick` server has."""
        batch, _, _ = tag.partition("/")
        send = Send(tag, upstream, time.monotonic(), sick or self._next_of(tag))
        self.sends.append(send)
        self.arrived.setdefault(batch, set()).add(tag)
        self.moved.set()
        return send

    def _next_of(self, tag):
        batch, _, index = tag.partition("/")
        line = self.plans[batch].line(int(index))
        turn = self._times[tag]
        self._times[tag] += 1
        return line.faults[turn] if turn < len(line.faults) else line.fate


class Upstream(Listening):
    """One model server. It can vanish, freeze, be sick, or answer that it is loading."""

    def __init__(self, witness, number):
        self.witness = witness
        self.number = number
        self.is_loading = False
        self.sick = ""
        """Which of `faults.SICK` it is at present."""
        self.running = 0
        self.tokens = 0
        self._open: dict[int, Send] = {}
        self._thawed = asyncio.Event()
        self._thawed.set()

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._answer)
        await self.open(app)
        return self

    async def __aexit__(self, *exc):
        self._thawed.set()
        await self.close()

    async def vanish(self):
        """Cut every connection and accept no more, as a server that was killed."""
        await self._site.stop()
        for send in self._open.values():
            send.end = "cut"
        self.hang_up()

    def freeze(self):
        """Answer nothing any more, and keep every connection."""
        self._thawed.clear()

    def thaw(self):
        """Go on."""
        self._thawed.set()

    async def _health(self, request):
        await self._thawed.wait()
        return web.Response(status=503 if self.is_loading else 200)

    async def _models(self, request):
        await self._thawed.wait()
        if self.sick and SICK[self.sick].bars_models:
            return _sick(self.sick)
        data = [{"id": MODEL, "object": "model", "created": 1, "owned_by": "x"}]
        return web.json_response({"object": "list", "data": data})

    async def _metrics(self, request):
        await self._thawed.wait()
        if not self.witness.has_gauges:
            raise web.HTTPNotFound
        label = f'{{engine="0",model_name="{MODEL}"}}'
        return web.Response(
            text=f"vllm:num_requests_running{label} {float(self.running)}\n"
            f"vllm:num_requests_waiting{label} 0.0\n"
            f"vllm:kv_cache_usage_perc{label} 0.1\n"
            f"vllm:generation_tokens_total{label} {float(self.tokens)}\n"
        )

    async def _answer(self, request):
        if self.is_loading:
            return _error(503, "The model is loading.")
        body = await request.json()
        if request.headers.get("X-Request-Id", "").startswith(CANARY):
            await self._thawed.wait()
            return _sick(self.sick) if self.sick else web.json_response(completion("canary"))
        send = self.witness.take(body["tag"], self.number, sick=self.sick)
        self.running += 1
        self._open[id(send)] = send
        try:
            return await self._deal(request, send)
        except (asyncio.CancelledError, ConnectionError) as exc:
            if send.end != "cut":
                send.end = "left"
            if isinstance(exc, ConnectionError):
                return web.Response()  # for nobody: raised, it would be printed as a fault
            raise
        finally:
            self.running -= 1
            del self._open[id(send)]
            send.ended_at = time.monotonic()

    async def _deal(self, request, send):
        await self._thawed.wait()
        if send.dealt in SICK:
            send.end = "broken"
            return _sick(send.dealt)
        await pass_time(self.witness.latency_s)
        self.tokens += 3
        send.end = "broken"
        match send.dealt:
            case Fault.HANG:
                await self.witness.over.wait()
            case Fault.RESET:
                request.transport.abort()
            case Fault.RESET_IN_BODY | Fault.TRUNCATED | Fault.LORIS | Fault.SLOW:
                return await self._piecemeal(request, send)
            case _:
                if send.dealt in Fate and send.dealt != Fate.BROKEN:
                    send.end = "delivered"
                return _whole(send)
        return web.Response()

    async def _piecemeal(self, request, send):
        whole = json.dumps(completion(send.tag)).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(whole))}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        if send.dealt == Fault.RESET_IN_BODY:
            await response.write(b" ")  # the headers go out with it
        elif send.dealt == Fault.TRUNCATED:
            await response.write(whole[: len(whole) // 2])
        else:
            for at in range(0, len(whole), _DRIP_BYTES):
                await response.write(whole[at : at + _DRIP_BYTES])
                await pass_time(_DRIP_S if send.dealt == Fault.LORIS else _SLOW_S)
            send.end = "delivered"
            return response
        request.transport.abort()
        return response


def _whole(send):  # noqa: PLR0911 - a table
    match send.dealt:
        case Fault.RATE_LIMITED:
            return _error(429, "Slow down.")
        case Fault.RATE_LIMITED_WAIT:
            return _error(429, "Slow down.", {"Retry-After": "1"})
        case Fault.SERVER_ERROR | Fate.BROKEN:
            return _error(500, "The engine stumbled.")
        case Fault.LOADING:
            return _error(503, "The model is loading.")
        case Fault.HTML:
            return web.Response(text="<html><body>Welcome</body></html>", content_type="text/html")
        case Fault.HTML_ERROR:
            return web.Response(status=502, text="<h1>Bad Gateway</h1>", content_type="text/html")
        case Fault.ERROR_IN_200:
            return _error(200, "Internal error.")
        case Fault.NO_CHOICES:
            return web.json_response(completion(send.tag) | {"choices": []})
        case Fate.REFUSED:
            return _error(400, REFUSAL)
        case Fate.ANSWERED:
            return web.json_response(completion(send.tag))
    raise AssertionError(send.dealt)


def _sick(dealt):
    form = SICK[dealt]
    return web.Response(
        status=form.status, body=form.body, content_type=form.kind, headers=form.headers
    )


def completion(text):
    """A chat completion as vLLM sends it."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def _error(status, message, headers=None):
    body = {"error": {"message": message, "type": "x", "param": None, "code": None}}
    return web.json_response(body, status=status, headers=headers)
