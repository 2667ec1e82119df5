"""Label Studios to test against: a scripted one, and the real one where `LABEL_STUDIO_REAL` says so.

The scripted one is a small server that behaves as version 1.23.2 does, as far as the handler asks: the same
tests run against both, by `make curation-test` against the real one.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from itertools import count
from pathlib import Path
from urllib.parse import unquote

import aiohttp
import httpx
import psutil
from aiohttp import web
from living import words_of
from locked_venv import locked_venv
from ports import free_port
from waiting import until

LEGACY = "0123456789abcdef0123456789abcdef01234567"
CONFIG = """
<View><Text name="question" value="$prompt"/><TextArea name="review" toName="question"/></View>
"""
CHOICES = """
<View><Text name="question" value="$prompt"/><Choices name="verdict" toName="question">
<Choice value="good"/><Choice value="bad"/></Choices></View>
"""
LOCK = Path(__file__).parents[2] / "curation" / "requirements.lock"
IS_REAL = "LABEL_STUDIO_REAL" in os.environ
STARTS_WITHIN_S = 900  # its first start makes a database: half a minute where nothing else runs


class Studio:
    """What both are: a base URL, tokens, and what a test asks of them through their API."""

    port: int
    is_running = False

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def project(self, config=CONFIG, title="reviews"):
        told = await self.asked(
            "POST", "/api/projects/", json={"title": title, "label_config": config}
        )
        return told["id"]

    async def tasks(self, project):
        """Return all tasks with their predictions, the oldest first."""
        query = {"project": project, "fields": "all", "page_size": 10_000}
        found = (await self.asked("GET", "/api/tasks/", params=query))["tasks"]
        return sorted(found, key=lambda task: task["id"])

    async def projects(self, title):
        told = await self.asked("GET", "/api/projects/", params={"title": title})
        return [one for one in told["results"] if one["title"] == title]

    async def asked(self, method, path, **words):
        headers = {"Authorization": f"Token {LEGACY}"}
        async with httpx.AsyncClient(trust_env=False, timeout=60, headers=headers) as client:
            answer = await client.request(method, self.url + path, **words)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None


class RealStudio(Studio):
    """Label Studio as a process of its own; its data outlive it."""

    def __init__(self, folder):
        self.port, self._folder = free_port(), folder
        self._program = locked_venv("label-studio", LOCK) / "bin" / "label-studio"
        self._process = None

    async def start(self):
        quiet = dict.fromkeys(("COLLECT_ANALYTICS", "LATEST_VERSION_CHECK"), "false")
        quiet |= dict.fromkeys(("SENTRY_DSN", "FRONTEND_SENTRY_DSN"), "")
        argv = ["start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(self.port)]
        user = ["--username", "a@b.test", "--password", "not-a-secret", "--user-token", LEGACY]
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [self._program, *argv, *user, "--enable-legacy-api-token"],
                env=os.environ | quiet | {"LABEL_STUDIO_BASE_DATA_DIR": str(self._folder)},
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        await until(self._is_up, within_s=STARTS_WITHIN_S, not_yet=httpx.TransportError)
        self.is_running = True

    async def _is_up(self):
        assert self._process.poll() is None, (self._folder / "log").read_text()[-4000:]
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            return (await client.get(f"{self.url}/health")).status_code == 200

    async def kill(self):
        await asyncio.to_thread(self.end)

    def end(self):
        self.is_running = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def personal_token(self):
        return (await self.asked("POST", "/api/token/", json={}))["token"]


class ScriptedStudio(Studio):
    """A small server in this loop. `revoke` makes access tokens void, `refreshed` counts those given out."""

    def __init__(self):
        self.port = free_port()
        self.refreshed = 0
        self._projects, self._tasks, self._numbers = {}, {}, count(1)
        self._valid = set()
        self._runner = None

    async def start(self):
        app = web.Application(middlewares=[self._authorized], client_max_size=1 << 20)
        app.add_routes(
            [
                web.post("/api/token/refresh/", self._refresh),
                web.get("/api/projects/", self._list_projects),
                web.post("/api/projects/", self._make_project),
                web.get("/api/projects/{id}/", self._show_project),
                web.post("/api/projects/{id}/import", self._import),
                web.get("/api/tasks/", self._list_tasks),
                web.delete("/api/tasks/{id}/", self._delete_task),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.is_running = True

    async def kill(self):
        self.is_running = False
        await self._runner.cleanup()

    async def personal_token(self):
        return "a.personal.token"

    def revoke(self):
        self._valid.clear()

    @web.middleware
    async def _authorized(self, request, handler):
        given = request.headers.get("Authorization", "")
        valid = {f"Token {LEGACY}", *(f"Bearer {one}" for one in self._valid)}
        if request.path != "/api/token/refresh/" and given not in valid:
            return web.json_response({"detail": "Invalid token."}, status=401)
        return await handler(request)

    async def _refresh(self, request):
        if (await request.json())["refresh"] != await self.personal_token():
            return web.json_response({"detail": "Token is invalid"}, status=401)
        self.refreshed += 1
        self._valid.add(f"access.number.{self.refreshed}")
        return web.json_response({"access": f"access.number.{self.refreshed}"})

    async def _list_projects(self, request):
        wanted = request.query["title"].lower()
        found = [one for one in self._projects.values() if wanted in one["title"].lower()]
        return web.json_response({"count": len(found), "next": None, "results": found})

    async def _make_project(self, request):
        given = await request.json()
        made = {
            **given,
            "id": next(self._numbers),
            "parsed_label_config": parsed(given["label_config"]),
        }
        self._projects[made["id"]] = made
        return web.json_response(made, status=201)

    async def _show_project(self, request):
        return web.json_response(self._project(request))

    def _project(self, request):
        found = self._projects.get(int(request.match_info["id"]))
        if found is None:
            raise web.HTTPNotFound(text='{"detail": "No Project matches the given query."}')
        return found

    async def _import(self, request):
        project, given = self._project(request), await request.json()
        if any("prompt" not in one["data"] for one in given):
            why = ['Error at item 0: "prompt" key is expected in task data [assume: …] :: {…}']
            return web.json_response({"validation_errors": {"non_field_errors": why}}, status=400)
        for one in given:
            made = {"total_annotations": 0, "predictions": [], **one, "id": next(self._numbers)}
            self._tasks[made["id"]] = made | {"project": project["id"]}
        return web.json_response({"task_count": len(given)}, status=201)

    async def _list_tasks(self, request):
        text = unquote(request.query.get("query", "{}"))  # it is quoted once more
        filters = json.loads(text).get("filters", {"items": []})["items"]
        project = int(request.query["project"])
        ours = [one for one in self._tasks.values() if one["project"] == project]
        found = [one for one in ours if all(fits(one["data"], item) for item in filters)]
        page, size = (
            int(request.query.get(key, n)) for key, n in (("page", 1), ("page_size", 100))
        )
        shown = found[(page - 1) * size : page * size]
        if page > 1 and not shown:
            return web.json_response({"detail": "Invalid page."}, status=404)
        return web.json_response({"tasks": shown, "total": len(found)})

    async def _delete_task(self, request):
        if self._tasks.pop(int(request.match_info["id"]), None) is None:
            return web.json_response({"detail": "No Task matches the given query."}, status=404)
        return web.Response(status=204)


def parsed(config):
    """What it tells of the configs above."""
    about = {"to_name": ["question"], "inputs": [{"type": "Text", "value": "prompt"}]}
    tags = {
        "review": {"type": "TextArea", "labels": [], **about},
        "verdict": {"type": "Choices", "labels": ["good", "bad"], **about},
    }
    return {name: tag for name, tag in tags.items() if f'name="{name}"' in config}


def fits(data, item):
    value, wanted = data.get(item["filter"].removeprefix("filter:tasks:data.")), item["value"]
    return value in wanted if item["operator"] == "in_list" else value == wanted


class Relay:
    """Stands between a handler and a Label Studio, so that something can happen in the middle of an import.

    `imports`: what to do at the import of that number, from 1 on: a function of one that passes the request on
    and returns what came back. What it returns is answered; None breaks the connection.
    """

    def __init__(self, studio, imports):
        self._studio, self._imports, self._number = studio, imports, 0
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    async def __aenter__(self):
        app = web.Application(client_max_size=1 << 21)
        app.router.add_route("*", "/{path:.*}", self._relay)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self._session = aiohttp.ClientSession(auto_decompress=False)
        return self

    async def __aexit__(self, *_):
        await self._session.close()
        await self._runner.cleanup()

    async def _relay(self, request):
        body = await request.read()
        headers = {key: request.headers[key] for key in ("Authorization", "Content-Type")}

        async def pass_on():
            url = f"{self._studio.url}{request.raw_path}"
            passed = self._session.request(
                request.method, aiohttp.client.URL(url, encoded=True), data=body, headers=headers
            )
            async with passed as answer:
                text = await answer.read()
                return web.Response(
                    status=answer.status, body=text, content_type="application/json"
                )

        happens = None
        if request.path.endswith("/import"):
            self._number += 1
            happens = self._imports.get(self._number)
        answer = await (pass_on() if happens is None else happens(pass_on))
        if answer is None:
            request.transport.abort()
            return web.Response(status=500)
        return answer


def kill_handler():
    """Kill the handler that runs at a batch, as the kernel would where memory is short."""
    mine = psutil.Process().children()
    (process,) = [one for one in mine if "deliver.handling.child" in words_of(one)]
    process.send_signal(signal.SIGKILL)
