"""A gateway with few file descriptors: it says so, takes what fits, and blames no model server."""

from __future__ import annotations

import aiohttp
from aiohttp import web
from running import gateway_process, until_logged
from shortage import none_left, open_files_of

CHAT = "/v1/chat/completions"


async def test_a_low_limit_is_told_at_the_start_and_bounds_the_connections(tmp_path):
    """What does not fit is answered 503 instead of being dropped without a word."""
    async with (
        gateway_process(tmp_path, open_files=100) as (_, url),
        aiohttp.ClientSession() as http,
    ):
        said = await until_logged(tmp_path / "gateway.log", r"the limit of open files .*")
        async with http.get(f"{url}/health") as answer:
            assert answer.status == 200

    assert "(ulimit -n) is 92: it suffices for 9 connections" in said
    assert "instead of 4096 (BATCHLINE_MAX_CONNECTIONS)" in said
    assert "LimitNOFILE=" in said


async def test_a_shortage_is_named_in_the_log(tmp_path):
    """The kernel drops who wants to connect: the log is where an operator learns why."""
    async with gateway_process(tmp_path) as (process, _):
        with open_files_of(process.pid, spare=0):
            said = await until_logged(tmp_path / "gateway.log", r"run out of file descriptors.*")

    assert "ulimit -n" in said
    assert "sockets" in said


async def test_a_request_that_cannot_be_passed_on_for_it_names_no_model_server(starts):
    """503 like any shortage, with the limit in its message."""
    gateway = await starts(upstream_url="http://127.0.0.1:9")
    await gateway.call("GET", "/health")

    with none_left():
        answer = await gateway.call("POST", CHAT, json={"model": "m", "messages": []})

    assert answer.status == web.HTTPServiceUnavailable.status_code
    assert "run out of file descriptors" in answer.json["error"]["message"]
    assert "ulimit -n" in answer.json["error"]["message"]
