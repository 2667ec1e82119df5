"""Errors below `/v1/messages`: Anthropic's form, whoever refuses, with the id of the request."""

from __future__ import annotations

import pytest
from aiohttp import web
from scripted import RESET, Scripted, error, message

from gateway.dialects.anthropic.errors import error_type, has_form, said
from gateway.keys import Patience

ASK = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
PATH = "/v1/messages"


@pytest.fixture
async def upstream():
    async with Scripted() as server:
        yield server


@pytest.fixture
async def gateway(starts, upstream):
    return await starts(upstream_url=upstream.url)


def check(answer, status, kind, part=""):
    """The whole form: nothing more, nothing less."""
    assert answer.status == status, answer.body
    assert answer.json == {
        "type": "error",
        "error": {"type": kind, "message": answer.json["error"]["message"]},
        "request_id": answer.headers["request-id"],
    }
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    assert part in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (409, "invalid_request_error"),
        (413, "invalid_request_error"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
        (507, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_the_type_follows_from_the_status(status, kind):
    """Only words that Anthropic's packages know: their users match on them."""
    assert error_type(status) == kind


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/", "/v1/messages/batches/x"])
def test_all_below_messages_has_the_form(path):
    """Unknown routes, too."""
    assert has_form(path)


@pytest.mark.parametrize("path", ["/v1/messages2", "/v1/batches", "/v1", "/x/v1/messages"])
def test_nothing_else_has_the_form(path):
    """OpenAI's clients get theirs."""
    assert not has_form(path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"type":"error","error":{"type":"BadRequestError","message":"too long"}}', "too long"),
        (b'{"error":{"message":"no","type":"x","param":null,"code":400}}', "no"),
        (b'{"error":"Unauthorized"}', '{"error":"Unauthorized"}'),
        (b"<html>bad</html>", "<html>bad</html>"),
        (b'{"error":{"message":7}}', "did not say why"),
        (b'{"error":{}}', "did not say why"),
        (b"", "answered 400"),
        (b"[" * 99_999, "answered 400"),
        (b"\xff", "answered 400"),
    ],
)
def test_what_a_model_server_said_is_kept(body, message):
    """In whatever form it said it."""
    assert message in said(400, body)


@pytest.mark.spec("anthropic-error-form")
@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (404, "not_found_error"), (500, "api_error")],
)
@pytest.mark.parametrize("path", [PATH, PATH + "/count_tokens"])
async def test_an_error_of_the_model_server_is_translated(gateway, upstream, path, status, kind):
    """Its status and its words stay; its type is nothing that Anthropic's packages know."""
    theirs = {"type": "error", "error": {"type": "BadRequestError", "message": "so not"}}
    upstream.script = lambda body, attempt: web.json_response(theirs, status=status)

    check(await gateway.call("POST", path, json=ASK), status, kind, "so not")


@pytest.mark.spec("anthropic-error-form")
async def test_the_refusals_of_the_gateway_itself(gateway, upstream):
    """Bodies, routes and methods."""
    call = gateway.call
    kind = "invalid_request_error"
    check(await call("POST", PATH, data=b"{nope"), 400, kind, "could not parse")
    check(await call("POST", PATH, json=ASK | {"n": 9999}), 400, kind, "'n'")
    check(await call("GET", PATH), 405, kind)
    check(await call("GET", PATH + "/nowhere"), 404, "not_found_error")
    headers = {"Content-Encoding": "br"}
    check(await call("POST", PATH, data=b"x", headers=headers), 415, kind, "'br'")
    check(await call("POST", PATH, json=ASK, headers={"Host": "evil.example"}), 421, kind)
    headers = {"Origin": "https://evil.example"}
    check(await call("POST", PATH, json=ASK, headers=headers), 403, "permission_error")
    upstream.script = lambda body, attempt: RESET
    check(await call("POST", PATH, json=ASK), 502, "api_error", "broke off")
    await upstream.vanish()
    check(await call("POST", PATH, json=ASK), 503, "overloaded_error")


@pytest.mark.spec("anthropic-error-form")
async def test_a_body_that_is_too_large(starts, upstream):
    """413, as Anthropic says it."""
    gateway = await starts(upstream_url=upstream.url, max_line_bytes=1024)

    answer = await gateway.call("POST", PATH, json=ASK | {"system": "x" * 2000})

    check(answer, 413, "invalid_request_error", "1024 bytes")


@pytest.mark.spec("anthropic-keys")
async def test_both_headers_for_the_key(starts, upstream):
    """Newer packages send a bearer, older ones and the examples `x-api-key`; any version will do."""
    patience = Patience(wrong_key_s=0.0)
    gateway = await starts(upstream_url=upstream.url, api_key="k", patience=patience)
    answers = {
        name: await gateway.call("POST", PATH + "?beta=true", json=ASK, headers=headers)
        for name, headers in {
            "none": {},
            "wrong": {"x-api-key": "other"},
            "x-api-key": {"x-api-key": "k", "anthropic-version": "2023-06-01"},
            "bearer": {
                "Authorization": "Bearer k",
                "anthropic-version": "2026-10-21",
                "anthropic-beta": "message-batches-2024-09-24",
            },
        }.items()
    }

    check(answers["none"], 401, "authentication_error", "Incorrect API key")
    check(answers["wrong"], 401, "authentication_error", "Incorrect API key")
    assert [answers[name].json for name in ("x-api-key", "bearer")] == [message()] * 2
    assert answers["bearer"].headers["request-id"].startswith("req_")
    assert [request.path for request in upstream.requests] == [PATH] * 2


async def test_a_stream_passes_as_it_comes(gateway, upstream):
    """Anthropic's events are not OpenAI's, and nobody looks at them."""
    events = b'event: message_start\ndata: {"type":"message_start"}\n\nevent: ping\ndata: {}\n\n'
    upstream.script = lambda body, attempt: web.Response(
        body=events, content_type="text/event-stream"
    )

    answer = await gateway.call("POST", PATH, json=ASK | {"stream": True})

    assert (answer.status, answer.body) == (200, events)
    assert answer.headers["request-id"] == answer.headers["x-request-id"]


async def test_an_openai_endpoint_keeps_its_form(gateway, upstream):
    """The dialect goes by the path alone."""
    upstream.script = lambda body, attempt: error(400)

    answer = await gateway.call("POST", "/v1/chat/completions", json={"messages": []})

    assert set(answer.json) == {"error"}
    assert "request-id" not in answer.headers
