"""Bodies as they are written."""

from __future__ import annotations

import pytest
from scripted import Scripted

from dispatcher.replies.upstream import Reply, Upstream


@pytest.mark.parametrize("size", [100, (1 << 20) + 1, 5_000_001])
async def test_a_body_of_any_length_arrives_byte_for_byte(size):
    """Written at once or in pieces, with its length in the head."""
    body = b'{"messages": [], "pad": "%s"}' % (b"0123456789" * (size // 10))
    async with (
        Scripted() as server,
        Upstream(server.url, api_key=None, timeout_s=30) as upstream,
    ):
        reply = await upstream.send("/v1/chat/completions", body, request_id="r")

    assert isinstance(reply, Reply)
    assert server.requests[0].body == body
    assert server.requests[0].headers["Content-Length"] == str(len(body))
    assert server.requests[0].headers["Content-Type"] == "application/json"
