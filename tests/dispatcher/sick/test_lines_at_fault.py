"""Lines that no server can answer fail, and are told from a server that answers none by canaries."""

from __future__ import annotations

import json

from aiohttp import web
from scripted import error
from sickbed import LINES, lines, sends, sick, until_said, well
from waiting import until

from benchmarks.sickness import CHAT, FORMS

_500 = next(form for form in FORMS if form.name == "500")


def for_lines(answer):
    """Return a script that gives lines this answer, and canaries a good one."""
    good = well()
    return lambda body, attempt: answer() if "tag" in body else good(body, attempt)


async def test_lines_that_break_every_server_fail(bench, upstream):
    """Canaries are answered: the attempts of the lines count, and their last answer is their result."""
    upstream.script = for_lines(lambda: error(500, "cannot do this one"))
    batch = await bench.submit(lines(20))
    async with bench.running(max_attempts=3):
        ended = await bench.ended(batch)

    _, errors = await bench.results(ended)
    assert ended.counts.failed == 20
    assert {line["response"]["status_code"] for line in errors} == {500}
    assert upstream.canaries


async def test_answers_without_choices_fail_as_malformed(bench, upstream):
    """An echo and an empty object are no successes, however often they come with a 200."""
    given = {"t0": {"model": "m", "messages": []}, "t1": {}}
    answer = well()

    def script(body, attempt):
        if body.get("tag") in given:
            return web.json_response(given[body["tag"]])
        return answer(body, attempt)

    upstream.script = script
    batch = await bench.submit(lines(3))
    async with bench.running(max_attempts=3):
        ended = await bench.ended(batch)

    output, errors = await bench.results(ended)
    assert [line["custom_id"] for line in output] == ["id-2"]
    assert [line["response"]["status_code"] for line in errors] == [502, 502]
    codes = {line["response"]["body"]["error"]["code"] for line in errors}
    assert codes == {"malformed_answer"}
    assert min(upstream.seen[tag] for tag in ("t0", "t1")) >= 3  # more while it had to prove itself


async def test_a_few_bad_lines_open_no_circuit(bench, upstream):
    """One in ten breaks: there are answers between them, and nobody asks whether the server works."""
    answer = well()

    def script(body, attempt):
        number = int(body.get("tag", "t1")[1:])
        return error(500, "cannot do this one") if number % 10 == 0 else answer(body, attempt)

    upstream.script = script
    batch = await bench.submit(lines())
    async with bench.running(max_attempts=2, max_in_flight=4):
        ended = await bench.ended(batch)

    assert (ended.counts.completed, ended.counts.failed) == (LINES * 9 // 10, LINES // 10)


async def test_canaries_and_no_lines_find_out_whether_it_is_well(bench, upstream):
    """Each is small, names itself and goes to the endpoint that failed; meanwhile no line is sent."""
    upstream.script = sick(_500)
    batch = await bench.submit(lines())
    async with bench.running(max_attempts=2):
        await until_said(bench, "answers nothing but errors")
        await until(lambda: upstream.in_flight == 0)
        spent = sends(upstream)
        known = len(upstream.canaries)
        await until(lambda: len(upstream.canaries) >= known + 2)

        assert sends(upstream) == spent
        upstream.script = well()
        ended = await bench.ended(batch)

    assert ended.counts.failed == 0
    for canary in upstream.canaries:
        body = json.loads(canary.body)
        assert (canary.path, body["model"], body["max_tokens"]) == (CHAT, "m", 1)
        assert len(canary.body) < 200


async def test_lines_that_a_firewall_answers_with_a_page_hold_up_nobody(bench, upstream):
    """The others are answered, its own fail at last with what was said, and the batch ends."""
    answer = well()

    def script(body, attempt):
        if int(body.get("tag", "t1")[1:]) % 20 == 0:
            return web.Response(status=406, text="<h1>Not here</h1>", content_type="text/html")
        return answer(body, attempt)

    upstream.script = script
    batch = await bench.submit(lines())
    async with bench.running(max_attempts=2):
        ended = await bench.ended(batch)

    _, errors = await bench.results(ended)
    assert (ended.counts.completed, ended.counts.failed) == (LINES - LINES // 20, LINES // 20)
    assert {line["response"]["status_code"] for line in errors} == {406}
    assert all("Not here" in line["response"]["body"]["error"]["message"] for line in errors)
