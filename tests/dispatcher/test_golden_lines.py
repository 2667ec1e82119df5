"""Golden result lines: what each end of a request looks like in the output or the error file."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from goldens import Shapes, names
from scripted import HANG, RESET, completion, error

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
REASONED = {"prompt_tokens_details": {"cached_tokens": 2}, "prompt_tokens": 5}
ODD_TEXT = "one\u2028two\u0085three\x0b“ü🎉”"
VECTORS = {"object": "list", "data": [{"embedding": [0.1, -2e-7]}], "model": "m"}

ANSWERS = {
    "lines/success": lambda: web.json_response(completion("Paris", model="m")),
    "lines/success_odd_text": lambda: web.Response(  # raw, as vLLM writes it
        text=json.dumps(completion(ODD_TEXT, usage=REASONED), ensure_ascii=False),
        content_type="application/json",
    ),
    "lines/refused_400": lambda: error(400, "max_tokens is too large", code="bad"),
    "lines/model_gone": lambda: error(404, "The model `m` does not exist."),
    "lines/failed_500": lambda: error(500, "engine died"),
    "lines/html_instead_of_json": lambda: web.Response(
        status=502, text="<html>Bad Gateway</html>", content_type="text/html"
    ),
    "lines/error_inside_200": lambda: web.json_response(
        {"error": {"message": "no", "type": "x", "param": None, "code": 500}}
    ),
    "lines/cut_json": lambda: web.Response(text='{"id": ', content_type="application/json"),
    "lines/connection_reset": lambda: RESET,
    "lines/timed_out": lambda: HANG,
}


def request(custom_id="request-1", url=CHAT, **body):
    body = {"model": "m", "messages": []} | body
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body})


def check(golden, name, output, errors):
    """One line, in one of the files, equal to the golden."""
    (line,) = output + errors
    file = "output" if output else "error"
    golden.check(name, {"file": file, "line": Shapes().of(line)})


@pytest.mark.spec("6-four-keys", "6-response-keys", "6-body-as-answered", "6-http-failure")
@pytest.mark.parametrize("name", ANSWERS)
async def test_lines_are_as_last_reviewed(bench, upstream, golden, name):
    """Whatever the model server does, the line's form is one of the documented ones."""
    upstream.script = lambda body, attempt: ANSWERS[name]()
    batch = await bench.submit(request())
    patience_s = 0.2 if name == "lines/timed_out" else 60

    async with bench.running(max_attempts=1, request_timeout_s=patience_s, model_grace_s=0):
        output, errors = await bench.results(await bench.ended(batch))

    check(golden, name, output, errors)


async def test_the_line_of_embeddings_is_as_last_reviewed(bench, upstream, golden):
    """Another endpoint's answer is passed through just so."""
    upstream.script = lambda body, attempt: web.json_response(VECTORS)
    batch = await bench.submit(request(url=EMBEDDINGS, input="x"), endpoint=EMBEDDINGS)

    async with bench.running():
        output, errors = await bench.results(await bench.ended(batch))

    check(golden, "lines/success_embeddings", output, errors)


@pytest.mark.spec("6-cancelled")
async def test_a_cancelled_line_is_as_last_reviewed(bench, upstream, golden):
    """Unrun when the batch was cancelled."""
    upstream.script = lambda body, attempt: HANG
    batch = await bench.submit(request())

    async with bench.running():
        await upstream.arrived.wait()
        await bench.store.cancel_batch(batch.id, now=1)
        output, errors = await bench.results(await bench.ended(batch))

    check(golden, "lines/cancelled", output, errors)


@pytest.mark.spec("6-expired")
async def test_an_expired_line_is_as_last_reviewed(bench, upstream, golden):
    """Unrun when the window closed."""
    upstream.script = lambda body, attempt: HANG
    batch = await bench.submit(request(), expires_in_s=1)

    async with bench.running():
        output, errors = await bench.results(await bench.ended(batch))

    check(golden, "lines/expired", output, errors)


def test_no_golden_line_is_left_over():
    """A golden that nothing compares would be a false promise."""
    others = {"lines/success_embeddings", "lines/cancelled", "lines/expired"}
    assert names("lines") == {*ANSWERS, *others}
