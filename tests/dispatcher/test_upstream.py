"""One request to the upstream: how much of an answer is read."""

from __future__ import annotations

import pytest
from aiohttp import web
from scripted import TRUNCATE, Scripted
from shortage import none_left

from dispatcher.replies.upstream import Break, Broken, Reply, Upstream


async def send(upstream, answer, **limits):
    """Post one line and return what came of it."""
    upstream.script = lambda body, attempt: answer
    async with Upstream(upstream.url, api_key=None, timeout_s=30, **limits) as session:
        return await session.send("/v1/x", b"{}", request_id="r")


def chunked(text):
    """Make an answer that does not say how long it is."""
    response = web.Response(text=text)
    response.enable_chunked_encoding()
    return response


@pytest.mark.parametrize("make", [chunked, lambda text: web.Response(text=text)])
async def test_an_answer_at_the_limit_is_read_and_one_above_is_not(upstream, make):
    """Whether the server says how long it is or not; memory stays bounded."""
    whole = await send(upstream, make("x" * 1000), max_answer_bytes=1000)
    above = await send(upstream, make("x" * 1001), max_answer_bytes=1000)

    assert isinstance(whole, Reply)
    assert whole.body == b"x" * 1000
    assert isinstance(above, Broken)
    assert above.how is Break.TOO_LARGE


async def test_a_torn_answer_is_truncated(upstream):
    """What came before the tear is not taken for an answer."""
    torn = await send(upstream, TRUNCATE)

    assert isinstance(torn, Broken)
    assert torn.how is Break.TRUNCATED


async def test_a_shortage_of_our_own_is_nobodys_refusal(upstream, caplog):
    """Without a file descriptor nothing is sent; the log names the limit, and no server."""
    async with Upstream(upstream.url, api_key=None, timeout_s=30) as session:
        with none_left():
            broken = await session.send("/v1/x", b"{}", request_id="r")

    assert isinstance(broken, Broken)
    assert broken.how is Break.NO_DESCRIPTORS
    assert "run out of file descriptors" in caplog.text
    assert upstream.requests == []


async def test_lines_go_below_the_path_of_the_upstream():
    """What stands before /v1 is part of the address."""
    async with (
        Scripted(path="/team/llm") as server,
        Upstream(server.url, api_key=None, timeout_s=30) as session,
    ):
        reply = await session.send("/v1/chat/completions", b"{}", request_id="r")

    assert isinstance(reply, Reply)
    assert (reply.status, reply.backend) == (200, f"127.0.0.1:{server.port}/team/llm")
