"""A scripted upstream that takes its time, and real processes over it."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web
from processes import System
from scripted import Scripted, completion, taking
from typer.testing import CliRunner

from batchline.cli.main import app


@pytest.fixture
async def upstream():
    def answer(body, attempt):
        return web.json_response(completion(body["tag"]))

    async with Scripted(taking(0.03, answer)) as server:
        yield server


@pytest.fixture
def command():
    """Run a command in this process; return (exit code, what --json says, standard error)."""

    def run(*arguments):
        done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
        return done.exit_code, json.loads(done.stdout or "null"), done.stderr

    return run


@pytest.fixture
async def system(tmp_path, upstream):
    made = System(tmp_path / "live", upstream.url, max_in_flight=32, lease_s=5)
    made.folder.mkdir()
    yield made
    await asyncio.to_thread(made.stop)
