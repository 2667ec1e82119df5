"""`POST /batch` through the gateway, before a scripted model server."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest
from aiohttp import web
from clocks import MovedClock
from prometheus_page import total
from scripted import HANG, RESET, TRUNCATE, Scripted, Share, completion, error
from waiting import turn, until

from batchline.settings import Settings
from gateway.openapi import Document
from gateway.running_requests import RUNNING
from gateway.synchronous.calls import SHARED

PAGE = Path(__file__).parents[3] / "docs" / "synchronous.md"
CALL, CHAT, EMBEDDINGS = "/batch", "/v1/chat/completions", "/v1/embeddings"


@pytest.fixture
async def upstream():
    async with Scripted() as server:
        yield server


@pytest.fixture
async def gateway(starts, upstream):
    """A gateway before one scripted model server."""
    return await starts(upstream_url=upstream.url)


def asking(tag, **fields):
    """A whole request of a chat."""
    body = {"model": "m", "messages": [], "tag": tag}
    return {"custom_id": tag, "method": "POST", "url": CHAT, "body": body} | fields


def echo(body, attempt):
    """Answer with what was asked for."""
    return web.json_response(completion(body["tag"]))


async def call(gateway, *requests):
    """Make a call, and hold its answer against the document; return the responses as they came."""
    sent = io.BytesIO(json.dumps({"requests": requests}).encode())
    answer = await gateway.call("POST", CALL, data=sent)
    assert answer.status == 200, answer.body
    document = Document(Settings()).tree
    schema = {"$ref": "#/components/schemas/SyncAnswer", "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer.json)
    return answer.json["responses"]


def text_of(response):
    return response["response"]["body"]["choices"][0]["message"]["content"]


def code_of(response):
    return response["error"] and response["error"]["code"]


def gauge(gateway, name, **labels):
    return gateway.metrics.registry.get_sample_value(name, labels)


def open_requests(gateway):
    return gauge(gateway, "batchline_sync_requests_open")


class TestAnswers:
    """Each in its place, and in the form of its request."""

    @pytest.mark.spec("beyond-sync", "beyond-sync-forms")
    async def test_responses_come_in_the_order_and_form_of_the_requests(self, gateway, upstream):
        """Although the last is answered first."""
        gates = {tag: asyncio.Event() for tag in "abc"}
        gates["c"].set()

        async def one_after_another(body, attempt):
            await gates[body["tag"]].wait()
            earlier = {after: before for before, after in pairwise("abc")}.get(body["tag"])
            if earlier:
                gates[earlier].set()
            return echo(body, attempt)

        upstream.script = one_after_another

        first, second, third = await call(
            gateway, asking("a"), json.dumps(asking("b")), asking("c")
        )

        assert [type(one) for one in (first, second, third)] == [dict, str, dict]
        found = [first, json.loads(second), third]
        assert [one["custom_id"] for one in found] == ["a", "b", "c"]
        assert [text_of(one) for one in found] == ["a", "b", "c"]
        assert [one["error"] for one in found] == [None] * 3
        assert len({one["id"] for one in found}) == 3

    async def test_the_page_about_it_tells_the_truth(self, gateway, upstream):
        """Its command is answered as it says."""
        await gateway.report(models=["only"])
        command, told = re.findall(r"```(?:sh|json)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
        words = shlex.split(command)

        answer = await gateway.call("POST", CALL, data=words[words.index("-d") + 1])

        found, said = answer.json["responses"], json.loads(told)["responses"]
        assert words[1].endswith(CALL)
        assert [type(one) for one in found] == [type(one) for one in said]
        assert [found[0]["custom_id"], found[0]["error"]] == ["a", None]
        assert found[0].keys() == said[0].keys()
        assert found[0]["response"].keys() == said[0]["response"].keys()
        assert json.loads(found[1])["error"] is None

    @pytest.mark.spec("beyond-sync-short")
    async def test_short_forms_are_understood(self, gateway, upstream):
        """A prompt, a text, and the one model that is served."""
        await gateway.report(models=["only"])

        found = await call(
            gateway,
            {"url": CHAT, "body": {"prompt": "Hello, world!"}},
            {"url": EMBEDDINGS, "body": {"text": ["a", "b"]}},
            json.dumps({"body": {"prompt": "Hi", "model": "mine"}}),
        )

        chat, embeddings, named = upstream_bodies(upstream)
        assert chat == {"model": "only", "messages": [{"role": "user", "content": "Hello, world!"}]}
        assert embeddings == {"model": "only", "input": ["a", "b"]}
        assert named == {"model": "mine", "messages": [{"role": "user", "content": "Hi"}]}
        assert found[0]["custom_id"] is None
        assert len(found[1]["response"]["body"]["data"]) == 2
        assert json.loads(found[2])["response"]["status_code"] == 200

    @pytest.mark.spec("beyond-sync-short")
    async def test_where_several_models_are_served_one_must_be_named(self, gateway, upstream):
        """The others of the call are answered."""
        await gateway.report(models=["b", "a"])

        unnamed, named = await call(gateway, {"body": {"prompt": "x"}}, asking("a"))

        assert code_of(unnamed) == "missing_required_parameter"
        assert "'a', 'b'" in unnamed["error"]["message"]
        assert code_of(named) is None
        assert len(upstream.requests) == 1

    async def test_a_thousand_requests_are_answered(self, gateway, upstream):
        """More than are in flight at a time."""
        upstream.script = echo

        found = await call(gateway, *(asking(str(n)) for n in range(1000)))

        assert [text_of(one) for one in found] == [str(n) for n in range(1000)]
        assert upstream.most_in_flight <= 256

    async def test_a_long_call_is_taken(self, gateway, upstream):
        """It waits in a file until it is whole; nothing is left of that."""
        upstream.script = echo
        before = {path.name for path in gateway.folder.iterdir()}
        long = asking("long", body={"model": "m", "tag": "long", "x": "y" * 1_500_000})

        (found,) = await call(gateway, long)

        assert text_of(found) == "long"
        assert json.loads(upstream.requests[0].body) == long["body"]
        assert {path.name for path in gateway.folder.iterdir()} == before

    async def test_a_compressed_call_is_taken(self, gateway, upstream):
        """As every body is."""
        upstream.script = echo
        packed = gzip.compress(json.dumps({"requests": [asking("a")]}).encode())

        answer = await gateway.call("POST", CALL, data=packed, headers={"Content-Encoding": "gzip"})

        assert text_of(answer.json["responses"][0]) == "a"

    async def test_a_call_leaves_no_rows_and_no_bytes(self, gateway, upstream):
        """It is no batch."""
        await call(gateway, asking("a"))

        assert gateway.stored() == []
        assert (await gateway.client.batches.list()).data == []
        assert (await gateway.client.files.list()).data == []


def upstream_bodies(upstream):
    """What the model server was asked, by path and prompt."""
    found = sorted(upstream.requests, key=lambda one: (one.path, b"mine" in one.body))
    return [json.loads(one.body) for one in (found[0], found[2], found[1])]


class TestFaults:
    """One bad request is one error in its place."""

    @pytest.mark.spec("beyond-sync-faults")
    async def test_bad_requests_spoil_no_other(self, gateway, upstream):
        """Whatever is wrong with them; they reach no model server."""
        deep = "[" * 100_000 + "]" * 100_000
        texts = [
            "7",
            '"no json"',
            f'{{"body": {deep}}}',
            f'{{"custom_id": "x", "body": {{"x": {deep}}}}}',
            '{"custom_id": "x", "body": {"x": "\\ud800"}}',
            '{"body": {"stream": true}}',
            '{"url": "/v1/nope", "body": {}}',
            '{"body": {"n": 1e999}}',
            json.dumps(json.dumps(asking("b", method="GET"))),
            json.dumps(asking("good")),
        ]
        body = f'{{"requests": [{",".join(texts)}]}}'

        answer = await gateway.call("POST", CALL, data=body.encode())

        found = [json.loads(r) if isinstance(r, str) else r for r in answer.json["responses"]]
        assert answer.status == 200
        assert [code_of(one) for one in found] == [
            *["invalid_request"] * 5,
            "streaming_unsupported",
            "invalid_value",
            "integer_above_max_value",
            "invalid_value",
            None,
        ]
        assert found[8]["custom_id"] == "b"
        assert len(upstream.requests) == 1

    @pytest.mark.spec("beyond-sync-faults")
    async def test_what_servers_answer_stays_in_its_place(self, gateway, upstream):
        """Their errors with their status, as in result files; what is no answer is an error of ours."""
        upstream.script = lambda body, attempt: (
            {
                "refused": error(400, "too long", code="too_long"),
                "html": web.Response(status=500, text="<h1>500</h1>", content_type="text/html"),
                "moved": web.Response(status=302, headers={"Location": "/elsewhere"}),
                "lost": RESET,
                "torn": TRUNCATE,
                "text": web.Response(text="no json"),
                "nan": web.Response(body=b'{"x": NaN}', content_type="application/json"),
            }.get(body["tag"])
            or echo(body, attempt)
        )
        tags = ["refused", "html", "moved", "lost", "torn", "text", "nan", "good"]

        found = dict(zip(tags, await call(gateway, *map(asking, tags)), strict=True))

        statuses = {
            tag: one["response"]["status_code"] for tag, one in found.items() if one["response"]
        }
        assert statuses == {"refused": 400, "html": 500, "nan": 200, "good": 200}
        assert found["refused"]["response"]["body"]["error"]["code"] == "too_long"
        assert "500" in found["html"]["response"]["body"]["error"]["message"]
        assert found["nan"]["response"]["body"] == {"x": None}
        assert {code_of(found[tag]) for tag in ("moved", "lost", "torn", "text")} == {
            "backend_failed"
        }

    @pytest.mark.spec("beyond-sync-faults")
    async def test_without_a_model_server_each_request_says_so(self, gateway, upstream):
        """The call itself is answered."""
        await upstream.vanish()

        found = await call(gateway, asking("a"), json.dumps(asking("b")))

        assert code_of(found[0]) == code_of(json.loads(found[1])) == "no_backend"

    async def test_a_busy_server_is_asked_again_when_it_says(self, gateway, upstream):
        """The others of the call do not wait for that."""
        upstream.script = lambda body, attempt: (
            error(429, "slow down", **{"Retry-After": "0"})
            if (body["tag"], attempt) == ("a", 1)
            else echo(body, attempt)
        )

        found = await call(gateway, asking("a"), asking("b"))

        assert [text_of(one) for one in found] == ["a", "b"]
        assert upstream.seen == {"a": 2, "b": 1}

    async def test_a_busy_server_that_does_not_say_when_is_believed(self, gateway, upstream):
        """Its answer is the answer."""
        upstream.script = lambda body, attempt: error(503, "full")

        (found,) = await call(gateway, asking("a"))

        assert found["response"]["status_code"] == 503
        assert upstream.seen == {"a": 1}

    @pytest.mark.spec("beyond-sync-bounds")
    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            (b"{", 400, None),
            (b"{}", 400, "missing_required_parameter"),
            (b'{"requests": {}}', 400, "invalid_type"),
            (b'{"requests": []}', 400, "empty_array"),
            (b'{"requests": [1,2,3,4]}', 400, "array_above_max_length"),
            (b'{"requests": ["' + b"x" * 3000 + b'"]}', 413, None),
        ],
    )
    async def test_what_is_no_call_is_refused(self, starts, upstream, body, status, code):
        """Too many requests and too long a body among it."""
        gateway = await starts(upstream_url=upstream.url, sync_max_requests=3, max_line_bytes=2000)

        answer = await gateway.call("POST", CALL, data=body)

        assert (answer.status, answer.json["error"]["code"]) == (status, code)
        assert upstream.requests == []


class TestTheWayThere:
    """Requests of a call are interactive requests."""

    async def test_headers_are_those_of_interactive_requests(self, starts, upstream):
        """Tracing passes, keys do not; each request has an id of its own that names the call."""
        gateway = await starts(upstream_url=upstream.url, api_key="ours", upstream_api_key="theirs")
        sent = {"Authorization": "Bearer ours", "Traceparent": "00-1-2-01", "Accept": "text/x"}

        answer = await gateway.call(
            "POST", CALL, json={"requests": [asking("a"), asking("b")]}, headers=sent
        )

        heads = [request.headers for request in upstream.requests]
        ids = [one["response"]["request_id"] for one in answer.json["responses"]]
        assert {head["Authorization"] for head in heads} == {"Bearer theirs"}
        assert {head["Traceparent"] for head in heads} == {"00-1-2-01"}
        assert {head["Content-Type"] for head in heads} == {"application/json"}
        assert {head["Accept"] for head in heads} == {"application/json"}
        assert sorted(ids) == sorted(upstream.request_ids)
        assert ids == [f"{answer.headers['x-request-id']}-{n}" for n in range(2)]

    @pytest.mark.parametrize(
        ("headers", "status"),
        [({}, 401), ({"Authorization": "Bearer ours", "Origin": "https://evil.example"}, 403)],
    )
    async def test_who_may_not_ask_is_refused(self, starts, upstream, headers, status):
        """Without the key, or from another page."""
        gateway = await starts(upstream_url=upstream.url, api_key="ours")

        answer = await gateway.call("POST", CALL, json={"requests": [asking("a")]}, headers=headers)

        assert answer.status == status
        assert upstream.requests == []

    async def test_what_happens_is_counted(self, gateway, upstream):
        """By how requests ended."""
        upstream.script = lambda body, attempt: (
            RESET if body["tag"] == "lost" else echo(body, attempt)
        )

        await call(gateway, asking("a"), asking("b"), asking("lost"), {"body": 1})

        page = (await gateway.call("GET", "/metrics")).body.decode()
        name = "batchline_sync_requests_total"
        outcomes = {
            kind: total(page, name, outcome=kind) for kind in ("answered", "refused", "failed")
        }
        assert outcomes == {"answered": 2, "refused": 1, "failed": 1}
        assert open_requests(gateway) == 0
        assert gauge(gateway, "batchline_sync_held_bytes") == 0


class TestTime:
    """What is not answered in time, and who leaves."""

    @pytest.fixture
    def clock(self):
        return MovedClock()

    @pytest.mark.spec("beyond-sync-time")
    async def test_a_late_request_is_an_error_and_the_others_are_answered(
        self, gateway, upstream, clock
    ):
        """In their places; the model server is told."""
        upstream.script = lambda body, attempt: HANG if body["tag"] == "b" else echo(body, attempt)
        asked = asyncio.create_task(call(gateway, asking("a"), asking("b"), asking("c")))
        await until(lambda: upstream.seen["b"] and open_requests(gateway) == 1)

        clock.advance(599.0)
        await turn(10)
        assert open_requests(gateway) == 1
        clock.advance(1.0)
        found = await asked

        assert [code_of(one) for one in found] == [None, "timeout", None]
        assert "600 s (BATCHLINE_SYNC_TIMEOUT_S)" in found[1]["error"]["message"]
        await upstream.left.wait()
        assert upstream.disconnects == 1

    @pytest.mark.spec("beyond-sync-time")
    async def test_a_busy_server_is_waited_for_within_the_time_alone(
        self, gateway, upstream, clock
    ):
        """Else its answer is the answer."""
        upstream.script = lambda body, attempt: error(503, "full", **{"Retry-After": "600"})

        (found,) = await call(gateway, asking("a"))

        assert found["response"]["status_code"] == 503

    @pytest.mark.spec("beyond-sync-disconnect")
    async def test_a_client_that_leaves_ends_its_requests(self, gateway, upstream):
        """Those in flight and those that wait; those of others go on."""
        upstream.script = lambda body, attempt: HANG
        leaving = asyncio.create_task(call(gateway, *(asking(f"l{n}") for n in range(300))))
        await until(lambda: upstream.in_flight == 256, saw=lambda: upstream.in_flight)
        staying = asyncio.create_task(call(gateway, asking("s")))
        await until(lambda: open_requests(gateway) == 301)

        leaving.cancel()
        await until(lambda: upstream.seen["s"] and upstream.in_flight == 1)
        upstream.release.set()

        assert [code_of(one) for one in await staying] == [None]
        assert upstream.disconnects == 256
        assert set(upstream.seen) == {"s", *(f"l{n}" for n in range(256))}
        await until(lambda: gauge(gateway, "batchline_sync_held_bytes") == 0)

    async def test_a_stop_waits_for_calls(self, gateway, upstream):
        """As for other requests of the API."""
        upstream.script = lambda body, attempt: HANG
        asked = asyncio.create_task(call(gateway, asking("a")))
        await upstream.arrived.wait()

        stopping = asyncio.create_task(gateway.app[RUNNING].drain(grace_s=60))
        await until(lambda: gateway.app[RUNNING].is_draining)
        was_done = stopping.done()
        upstream.release.set()
        await asyncio.gather(asked, stopping)

        assert not was_done


class TestTogether:
    """Several calls at a time."""

    @pytest.fixture
    def clock(self):
        return MovedClock()

    @pytest.mark.spec("beyond-sync-window")
    async def test_requests_of_several_calls_are_sent_together(self, starts, upstream, clock):
        """When there are enough of them."""
        gateway = await starts(
            upstream_url=upstream.url, sync_batch_size=3, sync_batch_interval_s=5.0
        )
        first = asyncio.create_task(call(gateway, asking("a"), asking("b")))
        await until(lambda: open_requests(gateway) == 2)
        before = len(upstream.requests)

        await call(gateway, asking("c"))
        await first

        assert (before, len(upstream.requests)) == (0, 3)

    @pytest.mark.spec("beyond-sync-window")
    async def test_or_when_the_first_has_waited_long_enough(self, starts, upstream, clock):
        """By the clock, exactly."""
        gateway = await starts(
            upstream_url=upstream.url, sync_batch_size=3, sync_batch_interval_s=5.0
        )
        asked = asyncio.create_task(call(gateway, asking("a")))
        await until(lambda: gateway.app[SHARED].gathering._timer is not None)

        clock.advance(5.0 - 1 / 1024)
        await turn(10)
        waits = gateway.app[SHARED].gathering._timer is not None
        clock.advance(1 / 1024)
        await asked

        assert waits
        assert len(upstream.requests) == 1

    @pytest.mark.spec("beyond-sync-window")
    async def test_no_more_are_in_flight_than_allowed(self, starts, upstream):
        """Over all calls."""
        gateway = await starts(upstream_url=upstream.url, sync_max_concurrent_requests=3)
        upstream.script = share = Share(0)
        asked = [
            asyncio.create_task(call(gateway, *(asking(f"{name}{n}") for n in range(5))))
            for name in "ab"
        ]
        await until(lambda: open_requests(gateway) == 10 and upstream.in_flight == 3)
        while share.many < 10:
            share.many += 1
            done = share.many
            await until(lambda done=done: len(upstream.seen) == min(10, 3 + done))

        await asyncio.gather(*asked)

        assert upstream.most_in_flight == 3

    @pytest.mark.spec("beyond-sync-window")
    async def test_a_large_call_does_not_hold_up_a_small_one(self, starts, upstream):
        """They take turns."""
        gateway = await starts(upstream_url=upstream.url, sync_max_concurrent_requests=1)
        upstream.script = share = Share(0)
        large = asyncio.create_task(call(gateway, *(asking(f"l{n}") for n in range(100))))
        await until(lambda: open_requests(gateway) == 100)
        small = asyncio.create_task(call(gateway, asking("s")))
        await until(lambda: open_requests(gateway) == 101)

        share.many = 3
        (found,) = await small
        before = len(upstream.seen)
        share.many = 101
        await large

        assert code_of(found) is None
        assert before <= 4


class TestMemory:
    """What calls hold is bounded, for each and for all."""

    @pytest.mark.spec("beyond-sync-bounds")
    async def test_an_answer_that_is_too_large_is_an_error_in_its_place(self, starts, upstream):
        """The server's answer is not read to its end, and the others are kept."""
        gateway = await starts(upstream_url=upstream.url, sync_max_held_bytes=400_000)
        upstream.script = lambda body, attempt: web.json_response(
            completion("y" * 200_000 if body["tag"] == "b" else "y")
        )

        found = await call(gateway, asking("a"), asking("b"), asking("c"))

        assert [code_of(one) for one in found] == [None, "answers_too_large", None]
        assert "BATCHLINE_SYNC_MAX_HELD_BYTES" in found[1]["error"]["message"]
        assert gauge(gateway, "batchline_sync_held_bytes") == 0

    @pytest.mark.spec("beyond-sync-bounds")
    async def test_answers_that_are_too_large_together_are_errors_from_there_on(
        self, starts, upstream
    ):
        """Each would fit alone."""
        gateway = await starts(
            upstream_url=upstream.url, sync_max_held_bytes=400_000, sync_max_concurrent_requests=1
        )
        upstream.script = lambda body, attempt: web.json_response(completion("y" * 50_000))

        found = await call(gateway, asking("a"), asking("b"), asking("c"))

        assert [code_of(one) for one in found] == [None, "answers_too_large", "answers_too_large"]

    @pytest.mark.spec("beyond-sync-bounds")
    async def test_a_call_that_is_too_large_is_refused(self, starts, upstream):
        """Before anything of it is sent."""
        gateway = await starts(upstream_url=upstream.url, sync_max_held_bytes=40_000)

        answer = await gateway.call("POST", CALL, json={"requests": [asking("a", x="y" * 20_000)]})

        assert (answer.status, answer.json["error"]["code"]) == (400, "answers_too_large")
        assert upstream.requests == []

    @pytest.mark.spec("beyond-sync-bounds")
    async def test_where_others_hold_all_memory_a_call_is_turned_away(self, starts, upstream):
        """Until they are answered."""
        gateway = await starts(upstream_url=upstream.url, sync_max_held_bytes=40_000)
        upstream.script = lambda body, attempt: HANG
        others = [asyncio.create_task(call(gateway, asking("a", x="y" * 5000))) for _ in range(4)]
        await until(lambda: upstream.in_flight == 4)

        turned_away = await gateway.call("POST", CALL, json={"requests": [asking("b")]})
        upstream.release.set()
        await asyncio.gather(*others)
        taken = await call(gateway, asking("b"))

        assert (turned_away.status, turned_away.headers["Retry-After"]) == (503, "2")
        assert "BATCHLINE_SYNC_MAX_HELD_BYTES" in turned_away.json["error"]["message"]
        assert code_of(taken[0]) is None
