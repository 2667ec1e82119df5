"""Result lines, byte for byte: from what the model server answers to what stands in the two files."""

from __future__ import annotations

import json
import time

import pytest
from aiohttp import web
from scripted import TRUNCATE, completion, error

GOOD = b'{"choices": [{"text": "a"}], "x": %s}'
SPLITTERS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


def raw(body, status=200, **headers):
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


async def run(bench, content, **settings):
    """Run one batch; return it with the lines of its two files, as bytes."""
    batch = await bench.submit(content)
    async with bench.running(max_attempts=2, **settings):
        ended = await bench.ended(batch)
    files = []
    for file_id in (ended.output_file_id, ended.error_file_id):
        file = file_id and await bench.store.get_file(file_id, now=int(time.time()))
        text = await bench.blobs.read(file.blob_key) if file else b""
        files.append(text.splitlines(keepends=True))
    return ended, *files


async def run_cases(bench, upstream, answers):
    """Run one line per case, answered in turn; return as `run` does."""
    upstream.script = lambda body, attempt: answers[int(body["tag"][1:])]()
    return await run(bench, len(answers))


def body_of(line):
    """Cut the body's bytes out of a result line."""
    assert line.endswith(b'}, "error": null}\n')
    return line.partition(b', "body": ')[2].removesuffix(b'}, "error": null}\n')


UNTOUCHED = {
    "spaces": b'{ "choices" :[ {"text" : "a"} ] , "a":  1 }',
    "numbers": GOOD
    % b"[123456789012345678901234567890, 1.10, 1e5, -0, 1E400, 0.1000000000000000055]",
    "escapes": GOOD % b'"\\u00e9\\/\\u0000\\ud83d\\ude00\\\\n"',
    "half a surrogate pair": GOOD % b'"\\ud800 \\uDC00"',
    "raw unicode": GOOD % '"é 😀 \u200b \x7f"'.encode(),
    "duplicate keys": b'{"choices": [{"text": "a"}], "a": 1, "a": 2, "": null}',
    "NaN in a string": GOOD % b'"NaN -Infinity \\" NaN"',
    "order": b'{"z": 1, "choices": [{"text": "a"}], "a": 2}',
    "nested": GOOD % (b"[" * 400 + b"]" * 400),
}


@pytest.mark.spec("6-body-as-answered")
async def test_bodies_are_kept_byte_for_byte(bench, upstream):
    """Whatever JSON allows stands in the output file as the model server sent it."""
    answers = [lambda answer=answer: raw(answer) for answer in UNTOUCHED.values()]

    _, output, errors = await run_cases(bench, upstream, answers)

    assert dict(zip(UNTOUCHED, map(body_of, output), strict=True)) == UNTOUCHED
    assert errors == []


MENDED = {
    "pretty": (
        b'\n{\r\n  "choices": [{"text": "a"}],\n\t"a": 1}\n',
        b'{    "choices": [{"text": "a"}], \t"a": 1}',
    ),
    "NaN": (GOOD % b"[NaN, -NaN]", GOOD % b"[null, null]"),
    "infinity": (
        GOOD % b'{"l": -Infinity, "Infinity": Infinity}',
        GOOD % b'{"l": null, "Infinity": null}',
    ),
    "raw control": (GOOD % b'"a\x01b\tc\nd"', GOOD % b'"a\\u0001b\\u0009c\\u000ad"'),
    "separators": (
        GOOD % '"a\u2028b\u2029c\x85d"'.encode(),
        GOOD % b'"a\\u2028b\\u2029c\\u0085d"',
    ),
    "both": (GOOD % '"NaN\u2028", "y": NaN'.encode(), GOOD % b'"NaN\\u2028", "y": null'),
}


@pytest.mark.spec("6-no-nan", "6-splitlines-safe")
async def test_what_json_or_lines_forbid_is_mended_and_nothing_else(bench, upstream):
    """NaN becomes null, controls and separators escapes, newlines between tokens spaces."""
    answers = [lambda answer=answer: raw(answer) for answer, _ in MENDED.values()]

    ended, output, _ = await run_cases(bench, upstream, answers)

    kept = {name: kept for name, (_, kept) in MENDED.items()}
    assert dict(zip(kept, map(body_of, output), strict=True)) == kept
    assert ended.counts.completed == len(MENDED)
    assert set(upstream.seen.values()) == {1}
    for line in output:
        json.loads(line, parse_constant=pytest.fail)


NO_OBJECT = [
    b"",
    b"null",
    b"[1]",
    b'{"a": nan}',
    b'{"a": NaN',
    b'{"a": "\xff"}',
    b"{}{}",
    b"[" * 9999,
]


async def test_an_answer_that_is_no_json_object_fails_as_a_bad_gateway(bench, upstream):
    """Tried again, then kept as a 502 with an error object that says what came."""
    answers = [lambda answer=answer: raw(answer) for answer in NO_OBJECT]

    _, output, errors = await run_cases(bench, upstream, answers)

    found = [json.loads(line)["response"] for line in errors]
    assert output == []
    assert [r["status_code"] for r in found] == [502] * len(NO_OBJECT)
    assert {r["body"]["error"]["code"] for r in found} == {"malformed_answer"}
    assert "It said: [1]" in found[2]["body"]["error"]["message"]
    assert min(upstream.seen.values()) == 2  # in the midst of so many errors a try may be free


REFUSED = b'{"error": {"message": "too  long\xe2\x80\xa8", "code": 400, "n": 1.10, "p": NaN}}'


@pytest.mark.spec("6-http-failure")
async def test_a_refused_line_keeps_status_and_body(bench, upstream):
    """The upstream's own error object, untouched but for what a line forbids."""
    upstream.script = lambda body, attempt: raw(REFUSED, 422, **{"X-Request-Id": "up-7"})

    _, _, (line,) = await run(bench, 1)

    kept = REFUSED.replace("\u2028".encode(), b"\\u2028").replace(b"NaN", b"null")
    assert body_of(line) == kept
    response = json.loads(line)["response"]
    assert (response["status_code"], response["request_id"]) == (422, "up-7")


OTHER_SHAPES = [
    (422, b"plain words"),
    (422, b'{"detail": [{"msg": "bad"}]}'),
    (500, b""),
    (500, b"Internal Server Error"),
    (200, b'{"error": "oops"}'),
]


@pytest.mark.spec("6-failure-body")
async def test_a_failure_in_another_shape_becomes_an_error_object(bench, upstream):
    """Its status stays (an error in a 200 is a 502), and the message tells what was said."""
    answers = [lambda case=case: raw(case[1], case[0]) for case in OTHER_SHAPES]

    _, _, errors = await run_cases(bench, upstream, answers)

    found = [json.loads(line)["response"] for line in errors]
    assert [r["status_code"] for r in found] == [422, 422, 500, 500, 502]
    for response, (_, body) in zip(found, OTHER_SHAPES, strict=True):
        assert set(response["body"]["error"]) == {"message", "type", "param", "code"}
        assert body.decode() in response["body"]["error"]["message"]


@pytest.mark.spec("6-four-keys", "6-response-keys", "6-unique-ids", "6-final-newline")
@pytest.mark.spec("6-no-blank-no-bom", "6-output-successes", "6-input-order")
async def test_both_files_keep_the_form_and_the_order_of_the_input(bench, upstream):
    """Successes, refusals and lost answers of one batch, with hostile custom_ids."""

    def script(body, attempt):
        number = int(body["tag"][1:])
        if number % 3 == 1:
            return error(400, "no")
        return TRUNCATE if number % 3 == 2 else web.json_response(completion(f"a{SPLITTERS}"))

    ids = [f'{n} {SPLITTERS} é\u0301 \\ " \x00 {"x" * 600}' for n in range(12)]
    lines = [
        {
            "custom_id": custom_id,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": [], "tag": f"t{n}"},
        }
        for n, custom_id in enumerate(ids)
    ]
    upstream.script = script

    ended, output, errors = await run(bench, "\n".join(map(json.dumps, lines)))

    assert (ended.counts.total, ended.counts.completed, ended.counts.failed) == (12, 4, 8)
    results = []
    for lines in (output, errors):
        text = b"".join(lines)
        assert text.endswith(b"\n")
        found = [json.loads(line) for line in text.decode().splitlines()]
        assert len(found) == text.count(b"\n")
        results.append(found)
    good, bad = results
    assert [r["custom_id"] for r in good] == ids[::3]
    assert [r["custom_id"] for r in bad] == [i for n, i in enumerate(ids) if n % 3]
    assert {tuple(r) for r in good + bad} == {("id", "custom_id", "response", "error")}
    assert len({r["id"] for r in good + bad}) == 12
    assert {tuple(r["response"]) for r in good + bad if r["response"]} == {
        ("status_code", "request_id", "body")
    }
    assert [r["error"] for r in good] == [None] * 4
    assert {(bool(r["response"]), bool(r["error"])) for r in bad} == {(True, False), (False, True)}
    assert {r["error"]["code"] for r in bad if r["error"]} == {"upstream_truncated"}


async def test_a_nonsensical_usage_counts_as_none(bench, upstream):
    """The lines succeed, the sum is not spoilt."""
    counts = [2**63, -5, "7", 1.5, 10**30, 4]
    answers = [
        lambda tokens=tokens: web.json_response(completion(usage={"prompt_tokens": tokens}))
        for tokens in counts
    ]

    ended, output, _ = await run_cases(bench, upstream, answers)

    assert ended.usage.total_tokens == 4
    kept = [json.loads(line)["response"]["body"]["usage"]["prompt_tokens"] for line in output]
    assert kept == counts


@pytest.mark.spec("5-body-untouched")
async def test_a_half_surrogate_pair_reaches_the_model_server_as_sent(bench, upstream):
    """Legal JSON is the model server's to judge: the request body goes out byte for byte."""
    seen = []

    def script(body, attempt):
        seen.append(body)
        return raw(GOOD % b"1")

    upstream.script = script
    body = '{"model": "m", "messages": ["\\ud800 \\\\ud800 \\ud83d\\ude00"]}'
    head = '{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": '

    ended, _, _ = await run(bench, head + body + "}")

    assert ended.counts.completed == 1
    assert seen == [json.loads(body)]
