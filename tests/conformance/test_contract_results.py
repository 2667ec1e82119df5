"""The contract, section 6: what stands in the two result files."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from inputs import line, requests
from scripted import HANG, RESET, TRUNCATE, completion, error
from waiting import until

HOSTILE = 'a\u2028b\u2029c\x85d"e\\f\x1cg\x1dh\x1ei\x0bj\x0ck\r\nl\t\x00m\x7f😀'


async def finished(api, content, **settings):
    """Run a batch to its end; return it."""
    batch = await api.create(content)
    async with api.dispatching(**settings):
        return await api.ended(batch)


@pytest.mark.spec("6-four-keys", "6-response-keys", "6-output-successes", "6-body-as-answered")
async def test_a_success_has_the_documented_form(api):
    """Exactly these keys, the body as the model server sent it, error null."""
    ((found,), errors) = await api.results(await finished(api, requests(1)))

    assert found == {
        "id": found["id"],
        "custom_id": "id-0",
        "response": {
            "status_code": 200,
            "request_id": found["response"]["request_id"],
            "body": completion(),
        },
        "error": None,
    }
    assert found["response"]["request_id"]
    assert errors == []


@pytest.mark.spec("6-http-failure", "6-four-keys", "6-output-successes", "5.1-upstream-judges")
@pytest.mark.parametrize("status", [400, 404, 413, 422, 451])
async def test_a_refusal_keeps_its_response(api, status):
    """In the error file, error null; the neighbour succeeds."""
    body = {"error": {"message": "no", "type": "x", "param": "temperature", "code": "bad"}}
    api.upstream.script = lambda given, _: (
        web.json_response(body, status=status)
        if given["tag"] == "t1"
        else web.json_response(completion())
    )
    output, (found,) = await api.results(await finished(api, requests(2)))

    assert [item["custom_id"] for item in output] == ["id-0"]
    assert found.keys() == {"id", "custom_id", "response", "error"}
    assert found["custom_id"] == "id-1"
    assert found["response"]["status_code"] == status
    assert found["response"]["body"] == body
    assert found["error"] is None


@pytest.mark.spec("6-failure-body")
@pytest.mark.parametrize(
    "answer",
    [
        {"text": "<html>502</html>", "content_type": "text/html"},
        {"text": '{"detail": "Not Found"}', "content_type": "application/json"},
        {"text": '{"error": "Unauthorized"}', "content_type": "application/json"},
        {"text": "", "content_type": "text/plain"},
    ],
    ids=["HTML", "detail", "error a string", "empty"],
)
async def test_a_foreign_error_becomes_an_error_object(api, answer):
    """Clients read message, type, param and code there."""
    api.upstream.script = lambda *_: web.Response(status=500, **answer)
    _, (found,) = await api.results(await finished(api, requests(1), max_attempts=1))

    assert found["response"]["status_code"] == 500
    assert found["response"]["body"]["error"].keys() == {"message", "type", "param", "code"}
    assert found["response"]["body"]["error"]["message"]


@pytest.mark.spec("6-no-answer", "6-timeout", "6-four-keys")
@pytest.mark.parametrize("fault", [RESET, TRUNCATE, HANG])
async def test_a_line_without_an_answer_says_why(api, fault):
    """Response null, error with code and message, after as many tries as allowed.

    A connection closed at once may have been a stale one: without nginx that costs nothing, once. Nor does
    a silence that casts doubt on the server.
    """
    api.upstream.script = lambda *_: fault
    patience_s = 0.2 if fault == HANG else 60
    ended = await finished(api, requests(1), max_attempts=2, request_timeout_s=patience_s)
    output, (found,) = await api.results(ended)

    assert output == []
    assert found.keys() == {"id", "custom_id", "response", "error"}
    assert found["response"] is None
    assert found["error"].keys() == {"code", "message"}
    assert found["error"]["message"]
    assert (found["error"]["code"] == "request_timeout") == (fault == HANG)
    assert found["error"]["code"]
    assert api.upstream.seen.total() in ({2} if fault == TRUNCATE else {2, 3})


@pytest.mark.spec("6-last-try", "6-retries-one-line", "6-http-failure")
@pytest.mark.parametrize("status", [409, 500, 502, 504])
async def test_the_last_answer_stands(api, status):
    """A lasting fault gives one line, with the model server's status and body."""
    api.upstream.script = lambda *_: error(status, "engine is sad", "sad")
    output, errors = await api.results(await finished(api, requests(2), max_attempts=2))

    assert output == []
    assert [item["custom_id"] for item in errors] == ["id-0", "id-1"]
    for found in errors:
        assert found["response"]["status_code"] == status
        assert found["response"]["body"]["error"]["message"] == "engine is sad"
        assert found["error"] is None


def is_hostile(value):
    return isinstance(value, str) and HOSTILE in value


@pytest.mark.spec(
    "6-splitlines-safe", "6-final-newline", "6-no-blank-no-bom", "6-unique-ids", "6-no-nan"
)
async def test_every_reader_finds_the_same_lines(api):
    """Whatever custom ids and answers hold, both files split into their lines, and parse."""

    def script(given, _):
        text = json.dumps(completion(HOSTILE), ensure_ascii=False, indent=2)
        if given["tag"] == "bad":
            return error(400, HOSTILE)
        if given["tag"] == "nan":
            text = text.replace("7", "NaN")
        return web.Response(text=text, content_type="application/json")

    def no_constants(name):
        raise AssertionError(name)

    api.upstream.script = script
    tags = ["good", "good", "bad", "bad", "nan"]
    content = b"\n".join(
        line(custom_id=f"{n}{HOSTILE}", body={"model": "m", "messages": [], "tag": tag})
        for n, tag in enumerate(tags)
    )
    ended = await finished(api, content, max_attempts=2)
    raws = [await api.raw(ended[f"{kind}_file_id"]) for kind in ("output", "error")]

    names = set()
    for raw, count in zip(raws, (3, 2), strict=True):
        assert raw.endswith(b"}\n")
        assert raw.startswith(b"{")
        assert not raw.startswith(b"\xef\xbb\xbf")
        lines = raw.decode().splitlines()
        assert len(lines) == count == len(raw.decode().split("\n")) - 1
        assert all(lines)
        for text in lines:
            found = json.loads(text, parse_constant=no_constants)
            assert is_hostile(found["custom_id"])
            names.add(found["id"])
    assert len(names) == 5
    first = json.loads(raws[0].splitlines()[0])
    assert first["response"]["body"]["choices"][0]["message"]["content"] == HOSTILE


@pytest.mark.spec("6-input-order", "6-each-once", "6-no-empty-file")
async def test_results_stand_in_input_order(api):
    """However the answers overtake one another; files without a line do not exist."""
    released = []

    async def script(given, _):
        number = int(given["tag"][1:])
        if number % 5 == 0:  # every fifth waits until its four successors were answered
            await until(lambda: has_all(range(number + 1, min(number + 5, 60))))
        released.append(number)
        return web.json_response(completion())

    async def has_all(numbers):
        return set(numbers) <= set(released)

    api.upstream.script = script
    ended = await finished(api, requests(60), max_in_flight=60)
    output, errors = await api.results(ended)

    assert released != sorted(released)
    assert [item["custom_id"] for item in output] == [f"id-{n}" for n in range(60)]
    assert (errors, ended["error_file_id"]) == ([], None)
