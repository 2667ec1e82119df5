"""Models, health, readiness, metrics."""

from __future__ import annotations

from dataclasses import replace

import openai
import pytest

from batchline.model import BackendStatus, FleetReport


@pytest.mark.spec("beyond-models")
async def test_models_are_those_of_live_backends(gateway):
    """Each model once, sorted, with the time since which it is served."""
    at = int(gateway.clock())
    backends = [
        BackendStatus("a", "http://a", alive=True, since=200, models=["m", "org/n"]),
        BackendStatus("b", "http://b", alive=True, since=100, models=["m"]),
        BackendStatus("c", "http://c", alive=False, since=50, models=["gone"]),
    ]
    await gateway.store.report(FleetReport(at=at, backends=backends))

    shown = (await gateway.call("GET", "/v1/models")).json

    assert shown == {
        "object": "list",
        "data": [
            {
                "id": "m",
                "object": "model",
                "created": 100,
                "owned_by": "batchline",
                "shutdown_date": None,
            },
            {
                "id": "org/n",
                "object": "model",
                "created": 200,
                "owned_by": "batchline",
                "shutdown_date": None,
            },
        ],
    }
    assert [m.id async for m in gateway.client.models.list()] == ["m", "org/n"]
    assert (await gateway.client.models.retrieve("org/n")).created == 200


async def test_no_dispatcher_means_no_models(gateway):
    """An empty list, not an error."""
    assert (await gateway.call("GET", "/v1/models")).json == {"object": "list", "data": []}


async def test_an_unknown_model_is_not_found(gateway):
    """404 with OpenAI's code."""
    await gateway.report()

    with pytest.raises(openai.NotFoundError, match="'gpt' does not exist") as caught:
        await gateway.client.models.retrieve("gpt")

    assert (caught.value.param, caught.value.code) == ("model", "model_not_found")


async def test_health_is_the_process(gateway):
    """It answers without store or fleet."""
    await gateway.store._database._reader.close()

    answer = await gateway.call("GET", "/health")

    assert (answer.status, answer.json["status"]) == (200, "ok")


async def test_ready_with_a_live_backend(gateway):
    """Store writable, dispatcher fresh, one backend alive: ready."""
    await gateway.report()
    gateway.clock.advance(15)

    answer = await gateway.call("GET", "/ready")

    assert (answer.status, answer.json) == (200, {"status": "ready"})


async def reasons(gateway):
    answer = await gateway.call("GET", "/ready")
    assert answer.status == 503
    assert answer.json["status"] == "not ready"
    return answer.json["reasons"]


async def test_not_ready_before_any_dispatcher(gateway):
    """No report at all."""
    assert await reasons(gateway) == ["no dispatcher has ever reported: is it running?"]


async def test_not_ready_when_the_dispatcher_fell_silent(gateway):
    """A report older than 15 s counts for nothing."""
    await gateway.report()
    gateway.clock.advance(16)

    assert await reasons(gateway) == ["the dispatcher last reported 16 s ago: is it running?"]


async def test_not_ready_without_a_live_backend(gateway):
    """Each dead backend is named with its reason."""
    await gateway.report(alive=False, reason="connection refused")

    assert await reasons(gateway) == ["backend gpu-0 is not alive: connection refused"]


async def test_not_ready_without_any_backend(gateway):
    """A dispatcher that knows none is no help."""
    await gateway.store.report(FleetReport(at=int(gateway.clock())))

    assert await reasons(gateway) == ["the dispatcher knows no backend"]


async def test_not_ready_while_dispatch_is_paused(gateway):
    """A full disk, for one: the reason is the dispatcher's own, beside what else is wrong."""
    why = "Only 400 kB of disk space are left and 1.0 GB are kept free."
    at = int(gateway.clock())
    backend = BackendStatus("gpu-0", "http://127.0.0.1:8001", alive=True, since=1)

    await gateway.store.report(FleetReport(at=at, backends=[backend], paused=why))
    alone = await reasons(gateway)
    await gateway.store.report(FleetReport(at=at, paused=why))
    beside = await reasons(gateway)

    assert alone == [f"dispatch is paused: {why}"]
    assert beside == [f"dispatch is paused: {why}", "the dispatcher knows no backend"]


async def test_a_batch_that_waits_by_itself_is_named_and_makes_nothing_unready(gateway):
    """Others run on meanwhile."""
    backend = BackendStatus("gpu-0", "http://127.0.0.1:8001", alive=True, since=1)
    waiting = {"batch_1": "Its result files need up to 2.0 GB of disk space."}
    await gateway.store.report(
        FleetReport(at=int(gateway.clock()), backends=[backend], waiting=waiting)
    )

    answer = await gateway.call("GET", "/ready")

    assert (answer.status, answer.json) == (200, {"status": "ready", "waiting": waiting})


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ({"alive": False, "reason": "connection refused"}, "is not alive: connection refused"),
        (
            {"circuit": "open", "circuit_reason": "refuses our key (401)"},
            "gets no lines: refuses our key (401)",
        ),
        ({"circuit_reason": "has no /v1/rerank (404)"}, "has no /v1/rerank (404)"),
        (
            {"reason": "its /metrics cannot be read: no value"},
            "its /metrics cannot be read: no value",
        ),
    ],
    ids=["dead", "taken out", "lacks", "a broken page"],
)
async def test_a_backend_in_trouble_is_named_and_makes_nothing_unready(gateway, seen, told):
    """The other one takes lines, and nothing is said of it."""
    one = BackendStatus("gpu-0", "http://127.0.0.1:8001", alive=True, since=1)
    other = replace(one, name="gpu-1", **seen)
    await gateway.store.report(FleetReport(at=int(gateway.clock()), backends=[one, other]))

    answer = await gateway.call("GET", "/ready")

    assert (answer.status, answer.json) == (
        200,
        {"status": "ready", "backends": {"gpu-1": told}},
    )


async def test_not_ready_when_the_store_refuses(gateway):
    """The store's own words are passed on."""
    await gateway.report()
    await gateway.store._database._writer.execute("PRAGMA query_only = 1")

    found = await reasons(gateway)

    assert len(found) == 1
    assert found[0].startswith("the store refuses: ")


async def test_metrics_are_labelled_by_route(gateway):
    """Templates, never ids; unknown paths and methods share one label."""
    file = await gateway.upload()
    await gateway.call("GET", f"/v1/files/{file.id}")
    await gateway.call("GET", "/v1/files/file-unknown")
    await gateway.call("GET", "/wp-login.php")

    answer = await gateway.call("GET", "/metrics")

    text = answer.body.decode()
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert (
        'batchline_http_requests_total{code="404",method="GET",route="/v1/files/{file_id}"} 1.0'
        in text
    )
    assert 'route="unmatched"' in text
    assert f"batchline_uploads_bytes_total {float(file.bytes)}" in text
    assert "batchline_build_info{" in text
    assert file.id not in text
    assert "wp-login" not in text
