"""Endpoints that the whole fleet is known not to offer are refused when a batch is created."""

from __future__ import annotations

import openai
import pytest

from batchline.model import SILENT_AFTER_S, BackendStatus, FleetReport

CHAT, EMBEDDINGS, RERANK = "/v1/chat/completions", "/v1/embeddings", "/v1/rerank"


def backend(name, *endpoints, alive=True):
    """One server as it was seen; without endpoints it does not tell which it offers."""
    return BackendStatus(name, f"http://{name}", alive, 0, endpoints=endpoints or None)


async def report(gateway, *backends, ago_s=0):
    await gateway.store.report(FleetReport(at=int(gateway.clock()) - ago_s, backends=backends))


async def test_a_batch_for_an_endpoint_that_nobody_offers_is_refused(gateway):
    """With the endpoints that are offered, each once; nothing is stored."""
    await report(gateway, backend("a", CHAT), backend("b", EMBEDDINGS, CHAT))

    with pytest.raises(openai.BadRequestError) as caught:
        await gateway.create_batch(endpoint=RERANK)

    assert caught.value.body == {
        "message": "No model server here offers '/v1/rerank'. Offered are: '/v1/chat/completions' and "
        "'/v1/embeddings'. Use one of these, or ask the operator to start a server that offers it.",
        "type": "invalid_request_error",
        "param": "endpoint",
        "code": "invalid_value",
    }
    assert (await gateway.client.batches.list()).data == []
    assert (await gateway.create_batch(endpoint=EMBEDDINGS)).endpoint == EMBEDDINGS


async def test_requests_that_come_with_a_refused_batch_are_not_kept(gateway):
    """Neither their bytes nor a row."""
    await report(gateway, backend("a", CHAT))
    requests = [{"custom_id": "a", "body": {"model": "m", "query": "q", "documents": ["d"]}}]

    answer = await gateway.call(
        "POST", "/v1/batches", json={"endpoint": RERANK, "requests": requests}
    )

    assert (answer.status, answer.json["error"]["param"]) == (400, "endpoint")
    assert gateway.stored() == []


UNKNOWN = {
    "a server that does not tell": [backend("a", CHAT), backend("b")],
    "a server that is down": [backend("a", CHAT), backend("b", alive=False)],
    "no server at all": [],
}


@pytest.mark.parametrize("backends", UNKNOWN.values(), ids=UNKNOWN)
async def test_what_is_not_known_is_accepted(gateway, backends):
    """Its lines wait for a server that offers it."""
    await report(gateway, *backends)

    assert (await gateway.create_batch(endpoint=RERANK)).status == "validating"


async def test_a_report_that_is_old_refuses_nothing(gateway):
    """The dispatcher is away, and the fleet may be another one."""
    await report(gateway, backend("a", CHAT), ago_s=int(SILENT_AFTER_S) + 1)

    assert (await gateway.create_batch(endpoint=RERANK)).status == "validating"
