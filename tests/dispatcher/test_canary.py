"""Canaries: a backend that has to prove itself does so by a request of ours that it works."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web
from bench import request_line
from scripted import completion, error
from shortage import none_left
from waiting import until

from batchline.api.endpoints import AUDIO, ENDPOINTS
from batchline.metrics import Metrics
from dispatcher.backends.backend import Backend
from dispatcher.backends.lacks import Need
from dispatcher.probing.canary import Canaries, is_harmless, question
from dispatcher.replies.policy import Reason
from dispatcher.replies.upstream import Upstream
from dispatcher.replies.verdict import Failed, NoAnswer, NoBackend, Retry


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_each_endpoint_has_its_question(endpoint):
    """Small, and for the model that it is about."""
    body = json.loads(question(Need("m", endpoint)))

    assert body.pop("model") == "m"
    assert body
    assert len(question(Need("m", endpoint))) < (25_000 if endpoint in AUDIO else 200)
    assert "model" not in json.loads(question(Need(None, endpoint)))


NOTHING = NoAnswer("x", "x")
FAILS = {
    "full": (Retry(NOTHING, Reason.OVERLOADED), True),
    "asked for a model that is gone": (Retry(NOTHING, Reason.MODEL_MISSING), True),
    "refused as bad": (Failed(NOTHING, Reason.CLIENT_ERROR), True),
    "an error": (Retry(NOTHING, Reason.SERVER_ERROR), False),
    "our key is refused": (Retry(NOTHING, Reason.KEY_REFUSED), False),
    "no answer": (Retry(NOTHING, Reason.MALFORMED), False),
    "nobody there": (NoBackend("x"), False),
}


@pytest.mark.parametrize(("verdict", "is_fine"), FAILS.values(), ids=FAILS)
def test_what_a_canary_proves_that_was_not_answered(verdict, is_fine):
    """One that is full, lacks the model or knows better may take lines."""
    assert is_harmless(verdict, is_refusing=False) is is_fine


def test_one_that_refuses_what_others_answer_must_answer_its_canary():
    """Else it would be let in again at once."""
    assert not is_harmless(Failed(NOTHING, Reason.CLIENT_ERROR), is_refusing=True)


async def test_a_canary_that_could_not_be_sent_proves_nothing(upstream, caplog):
    """Without a file descriptor of ours nobody was asked: it is sent again, and then counts."""
    proven = []
    metrics, backend = Metrics(), Backend("gpu-0", None, proof_need=Need("m", ENDPOINTS[0]))
    async with Upstream(upstream.url, api_key=None, timeout_s=30) as session, asyncio.timeout(60):
        canaries = Canaries(session, on_proven=lambda *told: proven.append(told), metrics=metrics)
        with none_left():
            canaries.send([backend])
            await until(lambda: "run out of file descriptors" in caplog.text)
        await until(lambda: canaries.send([backend]) or proven)

    assert proven[0] == (backend, None)


async def test_lines_at_fault_fail_although_their_server_is_doubted(bench, upstream):
    """All that is left of a batch fails each time: canaries are answered, so the lines' tries count."""
    upstream.script = lambda body, attempt: error(500, "engine is sad")
    batch = await bench.submit(40)
    async with bench.running(max_attempts=3):
        ended = await bench.ended(batch)

    assert ended.counts.failed == 40
    assert upstream.canaries


async def test_a_sick_server_costs_no_line_and_is_used_again_when_it_is_well(bench, upstream):
    """It answers canaries no better than lines: the batch waits, says why, and completes."""
    upstream.is_sick = True
    upstream.script = lambda body, attempt: (
        error(500, "engine is sad") if upstream.is_sick else web.json_response(completion())
    )
    batch = await bench.submit(40)
    async with bench.running(max_attempts=2):

        async def waits():
            report = await bench.store.fleet_report()
            reason = (report and report.paused) or ""
            return len(upstream.canaries) >= 2 and "engine is sad" in reason

        await until(waits)
        sent = sum(upstream.seen.values())
        await until(lambda: len(upstream.canaries) >= 4)
        assert sum(upstream.seen.values()) == sent
        upstream.is_sick = False
        ended = await bench.ended(batch)

    assert (ended.counts.completed, ended.counts.failed) == (40, 0)


async def test_a_batch_of_bad_lines_takes_the_server_from_nobody(bench, upstream):
    """Its lines fail, another batch's are answered meanwhile."""
    upstream.script = lambda body, attempt: (
        error(500) if body["tag"].startswith("bad") else web.json_response(completion())
    )
    bad = await bench.submit("\n".join(request_line(i, tag=f"bad{i}") for i in range(60)))
    good = await bench.submit(60)
    async with bench.running(max_attempts=3):
        ended = [await bench.ended(batch) for batch in (good, bad)]

    assert [batch.counts.failed for batch in ended] == [0, 60]
