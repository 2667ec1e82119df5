"""Whole batches through a running dispatcher: results, retries, ends, restarts."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web
from scripted import HANG, RESET, TRUNCATE, Share, completion, error
from waiting import until

from batchline.states import BatchStatus


def line(index, **body):
    body = {"model": "m", "messages": [], "tag": f"t{index}"} | body
    whole = {
        "custom_id": f"id-{index}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": body,
    }
    return json.dumps(whole)


@pytest.mark.spec("6-input-order", "6-each-once", "6-no-empty-file")
async def test_every_line_is_answered_once_in_input_order(bench, upstream):
    """500 lines: each sent once, written once, in the order of the input."""
    batch = await bench.submit(500)

    async with bench.running():
        ended = await bench.ended(batch)

    output, errors = await bench.results(ended)
    assert [r["custom_id"] for r in output] == [f"id-{i}" for i in range(500)]
    assert errors == []
    assert ended.status is BatchStatus.COMPLETED
    assert ended.error_file_id is None
    assert set(upstream.seen.values()) == {1}
    assert ended.usage.total_tokens == 5000
    assert ended.model == "m"


@pytest.mark.spec("6-four-keys", "6-response-keys")
async def test_result_lines_have_the_documented_form(bench, upstream):
    """All four keys, the upstream's body untouched, the request id ours."""
    batch = await bench.submit(1)
    async with bench.running():
        output, _ = await bench.results(await bench.ended(batch))

    (result,) = output
    assert list(result) == ["id", "custom_id", "response", "error"]
    assert result["id"] == upstream.request_ids[0]
    assert result["response"]["status_code"] == 200
    assert result["response"]["body"] == completion()
    assert result["error"] is None


async def test_concurrency_stays_below_the_bound(bench, upstream):
    """max_in_flight is never exceeded, and is used."""
    full = asyncio.Event()

    async def held_until_full(body, attempt):
        if upstream.in_flight == 7:
            full.set()
        await full.wait()
        return web.json_response(completion())

    upstream.script = held_until_full
    batch = await bench.submit(200)
    async with bench.running(max_in_flight=7):
        await bench.ended(batch)

    assert upstream.most_in_flight == 7


@pytest.mark.spec("6-retries-one-line")
@pytest.mark.parametrize(
    "fault", [RESET, TRUNCATE, 429, 500, 502, 503, 504, 408, "html", "empty", "error200"]
)
async def test_a_passing_fault_costs_nothing_but_a_retry(bench, upstream, fault):
    """Each retryable fault is retried until the line succeeds."""

    def script(body, attempt):
        if attempt > 2:
            return web.json_response(completion())
        if fault == "html":
            return web.Response(text="<html>", content_type="text/html")
        if fault == "empty":
            return web.json_response(completion(choices=[]))
        if fault == "error200":
            return web.json_response({"error": {"message": "oops", "code": 500}})
        return error(fault) if isinstance(fault, int) else fault

    upstream.script = script
    batch = await bench.submit(5)
    async with bench.running():
        ended = await bench.ended(batch)

    output, _ = await bench.results(ended)
    assert len(output) == 5
    assert set(upstream.seen.values()) == {3}


@pytest.mark.spec("6-last-try", "6-http-failure", "6-no-empty-file", "3.5-all-failed")
async def test_a_lasting_fault_fails_the_line_with_the_upstreams_answer(bench, upstream):
    """After the last try the status and body go into the error file, top-level error null."""
    upstream.script = lambda body, attempt: error(500, "engine is sad")
    batch = await bench.submit(3)
    async with bench.running(max_attempts=3):
        ended = await bench.ended(batch)

    output, errors = await bench.results(ended)
    assert (ended.status, ended.output_file_id, output) == (BatchStatus.COMPLETED, None, [])
    assert (ended.counts.completed, ended.counts.failed) == (0, 3)
    assert errors[0]["response"]["status_code"] == 500
    assert errors[0]["response"]["body"]["error"]["message"] == "engine is sad"
    assert errors[0]["error"] is None
    assert min(upstream.seen.values()) == 3


@pytest.mark.spec("6-http-failure", "6-output-successes", "5.1-upstream-judges")
async def test_a_refused_line_is_not_retried(bench, upstream):
    """A 400 is final and keeps its body; its neighbours succeed."""
    upstream.script = lambda body, attempt: (
        error(400, "too long", "context_length_exceeded")
        if body["tag"] == "t1"
        else web.json_response(completion())
    )
    batch = await bench.submit(3)
    async with bench.running():
        output, errors = await bench.results(await bench.ended(batch))

    assert [r["custom_id"] for r in output] == ["id-0", "id-2"]
    assert errors[0]["response"]["body"]["error"]["code"] == "context_length_exceeded"
    assert upstream.seen["t1"] == 1


async def test_an_endpoint_the_fleet_lacks_waits_with_the_reason_and_holds_up_nobody(
    bench, upstream
):
    """A bare 404 is the operator's matter; as soon as a server has the endpoint the batch goes on."""
    has_score = False

    def script(body, attempt):
        if "text_1" not in body:
            return web.json_response(completion())
        if not has_score:
            return web.json_response({"detail": "Not Found"}, status=404)
        return web.json_response({"data": [{"score": 0.5}]})

    upstream.script = script
    body = {"model": "m", "text_1": "a", "text_2": "b"}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/score", "body": body}
    lacking = await bench.submit(json.dumps(line), endpoint="/v1/score")
    async with bench.running():

        async def says_why():
            report = await bench.store.fleet_report()
            reason = "" if report is None else report.waiting.get(lacking.id, "")
            return "has no /v1/score (404)" in reason

        await until(says_why)
        other = await bench.ended(await bench.submit(20))
        has_score = True
        ended = await bench.ended(lacking)

    assert (other.counts.completed, ended.counts.completed) == (20, 1)


@pytest.mark.spec("6-timeout")
async def test_a_timeout_ends_as_request_timeout(bench, upstream):
    """A line that never answers gets the documented code, without a response."""
    upstream.script = lambda body, attempt: HANG
    batch = await bench.submit(1)
    async with bench.running(request_timeout_s=0.05, max_attempts=2):
        _, errors = await bench.results(await bench.ended(batch))

    assert errors[0]["response"] is None
    assert errors[0]["error"]["code"] == "request_timeout"


async def test_retry_after_is_honoured(bench, upstream):
    """The second try comes no sooner than the server asked."""
    times = []

    def script(body, attempt):
        times.append(asyncio.get_running_loop().time())
        return (
            error(429, **{"Retry-After": "0.4"})
            if attempt == 1
            else web.json_response(completion())
        )

    upstream.script = script
    batch = await bench.submit(1)
    async with bench.running():
        await bench.ended(batch)

    assert times[1] - times[0] >= 0.4


async def test_no_backend_pauses_visibly_and_burns_no_attempt(bench, upstream):
    """While nobody answers the batch waits with a reason; afterwards every line succeeds."""
    await upstream.vanish()
    batch = await bench.submit(20)
    async with bench.running(max_attempts=1):

        async def paused():
            report = await bench.store.fleet_report()
            return report is not None and report.paused is not None

        await until(paused)
        report = await bench.store.fleet_report()
        assert "No model server" in report.paused
        await upstream.listen()
        ended = await bench.ended(batch)

    assert ended.counts.completed == 20
    assert set(upstream.seen.values()) == {1}


@pytest.mark.spec("3.4-prompt", "3.5-cancelled-counts", "3.5-conservation", "6-cancelled")
async def test_cancel_aborts_what_is_in_flight_and_names_every_unrun_line(bench, upstream):
    """The upstream sees the disconnect; unrun lines are batch_cancelled; nothing is lost."""
    upstream.script = lambda body, attempt: (
        HANG if int(body["tag"][1:]) >= 10 else web.json_response(completion())
    )
    batch = await bench.submit(100)
    async with bench.running():

        async def ten_done():
            return (await bench.store.get_batch(batch.id)).counts.completed == 10

        await until(ten_done)
        await until(lambda: upstream.in_flight == 16)
        await bench.store.cancel_batch(batch.id, now=1)
        ended = await bench.ended(batch)
        output, errors = await bench.results(ended)

        async def all_gone():
            return upstream.in_flight == 0

        await until(all_gone)

    assert ended.status is BatchStatus.CANCELLED
    assert (len(output), len(errors)) == (10, 90)
    assert {e["error"]["code"] for e in errors} == {"batch_cancelled"}
    assert ended.counts.failed == 0
    assert upstream.disconnects == 16


async def test_a_small_batch_does_not_wait_behind_a_big_one(bench, upstream):
    """Ten lines created after thousands are sent long before the last of them."""
    share = upstream.script = Share(50)
    big = await bench.submit(3000)
    async with bench.running(max_in_flight=8):
        await until(lambda: bench.has_finished(big, 50))
        small = await bench.submit("\n".join(line(i, tag=f"small{i}") for i in range(10)))
        await until(lambda: bench.is_in(small, BatchStatus.IN_PROGRESS))
        share.many = 3010
        await bench.ended(small)
        await bench.ended(big)

    assert max(share.numbers[f"small{i}"] for i in range(10)) < 500


async def test_a_graceful_stop_loses_and_repeats_nothing(bench, upstream):
    """Stopped in the middle and started again: one send a line."""

    async def answered_when_stopping(body, attempt):
        if len(upstream.seen) > 100:
            await bench.stopping.wait()
        return web.json_response(completion())

    upstream.script = answered_when_stopping
    batch = await bench.submit(300)
    async with bench.running(grace_s=20):
        await until(lambda: bench.has_finished(batch, 100))
        await until(lambda: upstream.in_flight == 16)
    middle = await bench.store.get_batch(batch.id)
    upstream.script = lambda body, attempt: web.json_response(completion())
    async with bench.running():
        ended = await bench.ended(batch)

    assert middle.counts.completed == 116
    await bench.results(ended)
    assert set(upstream.seen.values()) == {1}


async def test_several_batches_run_at_once(bench, upstream):
    """Five batches end, each with its own results."""
    batches = [
        await bench.submit("\n".join(line(i, tag=f"{b}-{i}") for i in range(40))) for b in range(5)
    ]
    async with bench.running():
        for batch in batches:
            output, _ = await bench.results(await bench.ended(batch))
            assert len(output) == 40


@pytest.mark.spec("5.1-lost-file")
async def test_a_batch_whose_input_vanishes_fails_with_the_reason(bench, upstream):
    """Lost bytes end the batch instead of looping for ever."""
    batch = await bench.submit(5)
    await bench.blobs.delete(batch.input_key)
    async with bench.running():
        ended = await bench.ended(batch)

    assert ended.status is BatchStatus.FAILED
    assert "gone" in ended.faults[0].message


@pytest.mark.spec("5-body-untouched", "5-custom-id-any", "6-body-as-answered")
async def test_bodies_reach_the_upstream_byte_for_byte(bench, upstream):
    """Big integers, nulls, unicode and unknown fields pass untouched; answers too."""
    seen = []

    def script(body, attempt):
        seen.append(body)
        text = '{"choices": [{"text": "a"}], "n": 123456789012345678901234567890,\n "s": "a\u2028b\x85c"}'
        return web.Response(text=text, content_type="application/json")

    upstream.script = script
    body = (
        '{"model": "m", "messages": [], "seed": 98765432109876543210, "stop": null, "x": "é\u2028"}'
    )
    head = '{"custom_id": " \u2028é ", "method": "POST", "url": "/v1/chat/completions", "body": '
    content = head + body + "}"
    batch = await bench.submit(content)
    async with bench.running():
        ended = await bench.ended(batch)
        output, _ = await bench.results(ended)

    assert seen == [json.loads(body)]
    assert output[0]["custom_id"] == " \u2028é "
    assert output[0]["response"]["body"]["n"] == 123456789012345678901234567890
    assert output[0]["response"]["body"]["s"] == "a\u2028b\x85c"


async def test_a_line_that_breaks_the_dispatcher_itself_ends_as_failed(bench, upstream):
    """A fault of our own costs that line its attempts, and no batch its end."""

    async def breaking(real, path, body, **given):
        if b't1"' in body:
            raise ValueError("a fault of our own")
        return await real.send(path, body, **given)

    bench.instead("upstream", send=breaking)
    batch = await bench.submit(3)
    async with bench.running(max_attempts=2):
        ended = await bench.ended(batch)

    output, errors = await bench.results(ended)
    assert [r["custom_id"] for r in output] == ["id-0", "id-2"]
    assert [(e["response"], e["error"]["code"]) for e in errors] == [(None, "internal_error")]
