"""Golden answers of `POST /batch`: every kind of response, and every refusal of a call."""

from __future__ import annotations

import pytest
from aiohttp import web
from goldens import Shapes, names
from scripted import RESET, Scripted, completion, error

CHAT = "/v1/chat/completions"
BODY = '{"model": "m", "tag": "good", "messages": []}'

REQUESTS = {
    "an object": f'{{"custom_id": "a", "url": "{CHAT}", "body": {BODY}}}',
    "a string": '"{\\"body\\": {\\"model\\": \\"m\\", \\"prompt\\": \\"Hello, world!\\"}}"',
    "an error of the server": '{"body": {"model": "m", "tag": "refused", "messages": []}}',
    "a loss": '{"custom_id": "c", "body": {"model": "m", "tag": "lost", "messages": []}}',
    "a string, lost": '"{\\"body\\": {\\"model\\": \\"m\\", \\"tag\\": \\"lost\\"}}"',
    "no object": "7",
    "no JSON in a string": '"{"',
    "no body": '{"custom_id": "d"}',
    "no model": '{"custom_id": "e", "body": {"prompt": "x"}}',
    "another url": '{"url": "/v1/files", "body": {}}',
    "another method": '{"method": "GET", "body": {}}',
    "a stream": '{"body": {"model": "m", "stream": true}}',
    "a refused field": '{"body": {"model": "m", "chat_template": "x"}}',
    "a high value": '{"body": {"model": "m", "n": 1000}}',
}
REFUSED = {
    "not_json": "{",
    "not_an_object": "[]",
    "requests_missing": "{}",
    "requests_not_an_array": '{"requests": "x"}',
    "requests_empty": '{"requests": []}',
    "requests_too_many": f'{{"requests": [{",".join("1" * 1001)}]}}',
    "requests_broken": '{"requests": [1,,2]}',
    "requests_twice": '{"requests": [1], "requests": [2]}',
}


@pytest.fixture
async def upstream():
    async with Scripted() as server:
        yield server


@pytest.fixture
async def gateway(starts, upstream):
    """A gateway before one scripted model server."""
    return await starts(upstream_url=upstream.url)


@pytest.mark.spec("beyond-sync", "beyond-sync-forms", "beyond-sync-faults")
async def test_responses_are_as_last_reviewed(gateway, upstream, golden):
    """One call with a request of every kind."""
    upstream.script = lambda body, attempt: (
        {
            "refused": error(400, "too long", code="too_long"),
            "lost": RESET,
        }.get(body.get("tag"))
        or web.json_response(completion("hi"))
    )
    sent = f'{{"requests": [{",".join(REQUESTS.values())}]}}'

    answer = await gateway.call("POST", "/batch", data=sent)

    shapes = Shapes()
    shapes.of(answer.headers["x-request-id"])
    found = shapes.of(answer.json["responses"])
    golden.check("sync/responses", dict(zip(REQUESTS, found, strict=True)))


@pytest.mark.spec("beyond-sync-bounds")
@pytest.mark.parametrize("name", REFUSED)
async def test_refusals_are_as_last_reviewed(gateway, golden, name):
    """Status and each field of the error object."""
    answer = await gateway.call("POST", "/batch", data=REFUSED[name])

    golden.check(f"sync_errors/{name}", {"status": answer.status, "body": answer.json})


def test_no_golden_is_left_over():
    """Each file is compared by a test."""
    assert names("sync") | names("sync_errors") == {
        "sync/responses",
        *(f"sync_errors/{name}" for name in REFUSED),
    }
