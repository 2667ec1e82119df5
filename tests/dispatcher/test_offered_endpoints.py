"""Which endpoints a backend offers: told from answers to GET, and obeyed."""

from __future__ import annotations

import json

import pytest
from bench import request_line
from scripted import Scripted
from waiting import until

from batchline.clock import Clock
from dispatcher.probing.offered_endpoints import offered
from dispatcher.probing.probe import Probe

CHAT, EMBEDDINGS, RERANK = "/v1/chat/completions", "/v1/embeddings", "/v1/rerank"
ANSWERS = {
    "a server for one kind of model": ((405, 404, 404), (CHAT,)),
    "all of them": ((405, 405, 405), (CHAT, EMBEDDINGS, RERANK)),
    "one that lists stored completions": ((200, 405, 404), (CHAT, EMBEDDINGS)),
    "one whose 404 may mean anything": ((404, 404, 404), None),
    "one that refuses our key": ((401, 401, 401), None),
    "one that answers no more after the first": ((405, None, None), None),
    "one that fails": ((405, 500, 404), None),
    "a proxy that redirects": ((405, 301, 404), None),
}


@pytest.mark.parametrize(("statuses", "found"), ANSWERS.values(), ids=ANSWERS)
def test_what_the_answers_to_get_tell(statuses, found):
    """What is not certain is not known."""
    asked = dict(zip((CHAT, EMBEDDINGS, RERANK), statuses, strict=True))

    assert offered(asked) == found


async def test_the_probe_asks_at_the_start_of_a_server_and_when_its_models_change():
    """Not at each look: a server writes a line into its log for each question."""
    async with Scripted() as server, Probe([server.url], api_key=None, clock=Clock()) as probe:
        server.absent = {RERANK}
        [seen] = await probe.look()
        asked = server.endpoints_asked
        for _ in range(11):
            [again] = await probe.look()
        assert server.endpoints_asked == asked
        server.absent, server.models = {EMBEDDINGS}, ["another"]
        changed = await until_told(probe, lambda status: status.models == ("another",))
        server.health, server.absent = 503, set()
        [dead] = await probe.look()
        server.health = 200
        restarted = await until_told(probe, lambda status: status.alive)

    assert CHAT in seen.endpoints
    assert RERANK not in seen.endpoints
    assert again.endpoints == seen.endpoints
    assert EMBEDDINGS not in changed.endpoints
    assert RERANK in changed.endpoints
    assert dead.endpoints is None
    assert EMBEDDINGS in restarted.endpoints


async def until_told(probe, is_it):
    """Look until this is told of the only backend; return its status."""
    found = None

    async def is_told():
        nonlocal found
        [found] = await probe.look()
        return is_it(found)

    await until(is_told, saw=lambda: found)
    return found


async def test_a_batch_waits_for_a_server_that_offers_its_endpoint(bench, upstream):
    """Nothing is sent to find out, the page says why, and others go on."""
    upstream.absent = {RERANK}
    body = {"query": "q", "documents": ["a"], "messages": None}
    lines = [json.loads(request_line(n, **body)) | {"url": RERANK} for n in range(3)]
    batch = await bench.submit("\n".join(map(json.dumps, lines)), endpoint=RERANK)
    other = await bench.submit(3)
    async with bench.running(probe_interval_s=0.01):

        async def says_why():
            report = await bench.store.fleet_report()
            return report and "has no /v1/rerank" in report.waiting.get(batch.id, "")

        assert (await bench.ended(other)).counts.completed == 3
        await until(says_why)
        assert {request.path for request in upstream.requests} == {CHAT}
        upstream.absent = set()
        assert (await bench.ended(batch)).counts.completed == 3
