"""A scripted upstream: a real aiohttp server whose answers a test decides line by line.

`script(request_body, attempt)` returns a Response, one of the words below, or a function of the request
that answers it by itself. Every request that arrived whole is logged. The dispatcher's canaries are answered
well and not logged: what the script does is about lines. Where `is_sick`, it is about the server.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

from aiohttp import web
from waiting import pass_time, until

from dispatcher.probing.canary import NAME as CANARY

IMAGES = {"created": 1, "data": [{"b64_json": "aGk="}]}
HANG, RESET, TRUNCATE = "hang", "reset", "truncate"


def completion(text="ok", **fields):
    """A chat completion as vLLM sends it."""
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [choice],
        "usage": usage,
    } | fields


def message(text="ok", **fields):
    """A message as vLLM sends it: Anthropic's, with nulls left out."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": text}],
        "model": "m",
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 7, "output_tokens": 3},
    } | fields


def answer_for(path, body):
    """A good answer of each endpoint."""
    asked = next((body[k] for k in ("input", "text_2", "documents") if k in body), "")
    many = range(len(asked) if isinstance(asked, list) else 1)
    return {
        "/v1/responses": {"object": "response", "status": "completed", "output": []},
        "/v1/embeddings": {"data": [{"index": n, "embedding": [0.5, 1.0]} for n in many]},
        "/v1/score": {"data": [{"index": n, "score": 0.5} for n in many]},
        "/v1/rerank": {"results": [{"index": n, "relevance_score": 0.5} for n in many]},
        "/v1/messages": message(),
        "/v1/messages/count_tokens": {"input_tokens": 7},
        "/v1/moderations": {"results": [{"flagged": False, "categories": {}} for _ in many]},
        "/v1/images/generations": IMAGES,
        "/v1/images/edits": IMAGES,
        "/v1/audio/transcriptions": {"text": "Hello."},
        "/v1/audio/translations": {"text": "Hello."},
    }.get(path, completion())


def taking(seconds, script=None):
    """Return a script that answers as `script` does, or well, after `seconds`: a number, or what gives one."""

    async def take(body, attempt):
        await pass_time(seconds() if callable(seconds) else seconds)
        if script is None:
            return web.json_response(completion())
        answer = script(body, attempt)
        return await answer if asyncio.iscoroutine(answer) else answer

    return take


async def read_form(request):
    """Read a form: a text, or a file's name, type and content, by the field's name; None where it is none."""
    if request.content_type != "multipart/form-data":
        return None
    form = dict(await request.post())
    for name, value in form.items():
        if not isinstance(value, str):
            content = value.file.read()
            form[name] = SimpleNamespace(
                filename=value.filename, content_type=value.content_type, content=content
            )
    return form


class Share:
    """A script that answers the first `many` lines, however often each is sent; others wait until it grows."""

    def __init__(self, many):
        self.many = many
        self.numbers = {}

    async def __call__(self, body, attempt):
        number = self.numbers.setdefault(body["tag"], len(self.numbers) + 1)
        await until(lambda: number <= self.many, within_s=300)
        return self.answer(number, body)

    def answer(self, number, body):
        """Answer the line that was the `number`th to come."""
        return web.json_response(completion(body["tag"]))


class Scripted:
    """The server. `seen` counts sends by the body's `tag` (or prompt); `health` may be set to 503 or HANG."""

    def __init__(self, script=None, *, path=""):
        self.path = path
        """What all its addresses begin with."""
        self.script = script
        """None: a good answer of each endpoint."""
        self.seen = Counter()
        self.request_ids = []
        self.requests = []
        self.begun = asyncio.Event()
        self.left = asyncio.Event()
        self.in_flight = 0
        self.most_in_flight = 0
        self.disconnects = 0
        self.health = 200
        self.health_asked = 0
        self.is_sick = False
        """The script answers canaries, too; else each gets a good answer."""
        self.canaries = []
        self.models = ["m"]
        """None: there is no such route; HANG: it never answers; a status: it refuses to list them."""
        self.models_asked = 0
        self.absent = set()
        """Endpoints that it does not offer."""
        self.endpoints_asked = 0
        self.metrics = ""  # or what says it at each look: a text, or an answer of its own
        self.arrived = asyncio.Event()
        self.release = asyncio.Event()

    async def __aenter__(self):
        app = web.Application(client_max_size=1 << 30, middlewares=[self._refuse_absent])
        app.router.add_get(self.path + "/health", self._health)
        app.router.add_get(self.path + "/metrics", self._metrics)
        app.router.add_get(self.path + "/v1/models", self._models)
        app.router.add_get(self.path + "/v1/{tail:.*}", self._no_such_method)
        app.router.add_post(self.path + "/v1/{tail:.*}", self._answer)
        self.runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self.runner.setup()
        self.port = None
        await self.listen()
        return self

    async def __aexit__(self, *exc):
        self.release.set()
        await self.runner.cleanup()

    @contextmanager
    def in_a_thread(self):
        """Serve in a loop of its own, for what outlives one test."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self.__aenter__(), loop).result(30)
            yield self
            asyncio.run_coroutine_threadsafe(self.__aexit__(), loop).result(30)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(30)
            loop.close()

    async def listen(self):
        """Accept connections (again), always on the same port."""
        self.site = web.TCPSite(self.runner, "127.0.0.1", self.port or 0)
        await self.site.start()
        self.port = self.site._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}{self.path}"

    @property
    def connections(self):
        """How many are open, of dead peers too as long as something of theirs is not read."""
        return len(self.runner.server.connections)

    async def vanish(self):
        """Stop accepting connections."""
        await self.site.stop()

    async def die(self):
        """Stop accepting connections, and cut those that there are."""
        await self.vanish()
        for connection in list(self.runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()

    async def _health(self, request):
        self.health_asked += 1
        if self.health == HANG:
            await self.release.wait()
            return web.Response()
        return web.Response(status=self.health)

    async def _metrics(self, request):
        if inspect.iscoroutinefunction(self.metrics):
            return await self.metrics(request)
        return web.Response(text=self.metrics() if callable(self.metrics) else self.metrics)

    async def _models(self, request):
        if self.models is None:
            raise web.HTTPNotFound
        self.models_asked += 1
        if isinstance(self.models, int):
            return web.json_response({"error": "Unauthorized"}, status=self.models)
        if self.models == HANG:
            await self.release.wait()
        data = [{"id": name, "object": "model"} for name in self.models]
        return web.json_response({"object": "list", "data": data})

    @web.middleware
    async def _refuse_absent(self, request, handler):
        if request.path.removeprefix(self.path) in self.absent:
            return web.json_response({"detail": "Not Found"}, status=404)
        return await handler(request)

    async def _no_such_method(self, request):
        self.endpoints_asked += 1
        return web.json_response({"detail": "Method Not Allowed"}, status=405)

    async def _answer(self, request):
        self.begun.set()
        try:
            return await self._take(request)
        except asyncio.CancelledError:
            self.disconnects += 1
            self.left.set()
            raise

    async def _take(self, request):
        form = await read_form(request) if "/audio/" in request.path else None
        raw = await request.read() if form is None else None
        arrived = SimpleNamespace(
            path=request.path.removeprefix(self.path), headers=request.headers, body=raw, form=form
        )
        body = json.loads(raw) if form is None else form
        if request.headers.get("X-Request-Id", "").startswith(CANARY):
            self.canaries.append(arrived)
            if self.is_sick and self.script is not None:
                return await self._perform(request, self.script(body, len(self.canaries)))
            return web.json_response(answer_for(request.path.removeprefix(self.path), body))
        self.requests.append(arrived)
        untagged = request.headers.get("X-Request-Id") if form else json.dumps(body, sort_keys=True)
        tag = body.get("tag") or untagged
        self.seen[tag] += 1
        self.request_ids.append(request.headers.get("X-Request-Id"))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.arrived.set()
        try:
            if self.script is None:
                return web.json_response(answer_for(request.path.removeprefix(self.path), body))
            answer = self.script(body, self.seen[tag])
            if asyncio.iscoroutine(answer):
                answer = await answer
            return await self._perform(request, answer)
        finally:
            self.in_flight -= 1

    async def _perform(self, request, answer):
        if answer == HANG:
            await self.release.wait()
            return web.json_response(completion())
        if answer == RESET:
            request.transport.abort()
            return web.Response()
        if answer == TRUNCATE:
            sent = {"Content-Length": "1000", "Content-Type": "application/json"}
            response = web.StreamResponse(headers=sent)
            await response.prepare(request)
            await response.write(b'{"id": ')
            request.transport.abort()
            return response
        return await answer(request) if inspect.isfunction(answer) else answer


def error(status, message="no", code=None, **headers):
    """An OpenAI-shaped error answer."""
    body = {"error": {"message": message, "type": "x", "param": None, "code": code}}
    return web.json_response(body, status=status, headers=headers)
