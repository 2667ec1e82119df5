"""A scripted server on a real port, and ways to run the command line against it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time

import pytest
from aiohttp import web
from scripted_api import REQUEST, ROOT, Script, application
from typer.testing import CliRunner

from batchline.cli.main import app


@pytest.fixture
def serve_app():
    """Serve an aiohttp application (or what a coroutine function makes) from a thread; returns its url."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runners = []

    async def start(made):
        if not isinstance(made, web.Application):
            made = await made()
        runner = web.AppRunner(made, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield lambda made: asyncio.run_coroutine_threadsafe(start(made), loop).result(30)
    for runner in runners:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)
    loop.close()


@pytest.fixture
def api(serve_app):
    """A running scripted server."""
    script = Script()
    script.url = serve_app(application(script))
    return script


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Look and retry without delay: commands run in this process, and sleep by the standard library."""
    wait = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: wait(min(seconds, 0.01)))


@pytest.fixture
def batchline(api):
    """Run the command line in this process against the scripted server."""

    def run(*arguments, stdin=None):
        return CliRunner().invoke(
            app, [str(a) for a in arguments], input=stdin, env={"BATCHLINE_URL": api.url}
        )

    return run


@pytest.fixture
def start_batchline(api):
    """Start the command line as a process of its own."""
    started = []

    def start(*arguments, **kwargs):
        quiet = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
        env = quiet | {"PYTHONPATH": str(ROOT), "BATCHLINE_URL": api.url}
        argv = [sys.executable, "-m", "batchline.cli.main", *map(str, arguments)]
        process = subprocess.Popen(argv, env=env | kwargs.pop("env", {}), **kwargs)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(60)


@pytest.fixture
def lines(tmp_path):
    """A file of three requests."""
    path = tmp_path / "lines.jsonl"
    rows = [json.dumps(REQUEST | {"custom_id": str(n)}) for n in range(3)]
    path.write_text("\n".join(rows) + "\n")
    return path
